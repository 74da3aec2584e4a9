"""A run in plain sentences: what came of it and what a person should look at."""

from typing import NamedTuple

from tasks.base.manifests import Evaluation
from tasks.base.pages.wording import interval, percent
from tasks.candidates.select import pareto
from tasks.data.statistics import visible
from tasks.report.run import RunReport

_WELL_CALIBRATED = 0.02


class Finding(NamedTuple):
    """`level` is good, note or warn."""

    level: str
    text: str


def headline(run: RunReport) -> str:
    """The one sentence that a manager reads."""
    if run.evaluation is None:
        return "The run ended before a model could be judged."
    figure = run.evaluation.metrics["accuracy"]
    rows = run.dataset.rows.get("test", 0) if run.dataset else 0
    return (
        f"On {rows:,} texts that it never saw the model gives the right answer for {percent(figure.value)} "
        f"(95% interval {interval(figure)})."
    )


def findings(run: RunReport, *, released: bool = False) -> list[Finding]:
    """What stands out, the worst first.

    Args:
        released: they leave the organisation with the model; what a privacy budget does not cover is left out.
    """
    found = [*_of_gate(run), *_of_choice(run)]
    if not (released and run.privacy):
        found += [*_of_data(run), *_of_privacy(run), *_of_labels(run)]
    if run.evaluation:
        found += [*_of_classes(run.evaluation), *_of_scores(run.evaluation)]
    found += _of_variants(run)
    order = {"warn": 0, "note": 1, "good": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def _of_gate(run: RunReport) -> list[Finding]:
    if run.verdict is None:
        return []
    if run.verdict.verdict == "passed":
        return [Finding("good", f"All {len(run.verdict.checks)} checks of the gate passed.")]
    return [Finding("warn", reason) for reason in run.verdict.reasons]


def _of_data(run: RunReport) -> list[Finding]:
    found: list[Finding] = []
    checked = run.checked
    if checked is None:
        return found
    bad = sum(checked.quarantined.values())
    read = run.table.rows_read if run.table else checked.rows + bad
    if bad:
        found.append(
            Finding("note", f"{bad:,} of {read:,} rows ({percent(bad / max(read, 1))}) were set aside as unusable.")
        )
    if checked.conflicts:
        found.append(Finding("note", f"{checked.conflicts:,} texts stand in the data under more than one label."))
    for names in checked.near_equal_classes:
        written = " and ".join(f"“{visible(name)}”" for name in names)
        found.append(Finding("warn", f"The classes {written} are spelled almost alike: are they meant to be one?"))
    return found


def _of_privacy(run: RunReport) -> list[Finding]:
    if run.privacy is None or run.selection is None:
        return []
    chosen = run.selection.chosen
    return [
        Finding(
            "note",
            f"Training was differentially private: epsilon {run.privacy.epsilon:.2f} at delta {run.privacy.delta:.1e} "
            f"for a training row, by noise of {run.privacy.noise:.2f} times the clip of {run.privacy.clip:g} in each "
            f"of {run.privacy.steps} steps. The model scores {percent(chosen.score)} on the validation set; "
            f"without the noise it would score {percent(chosen.settings['score_without_noise'])}.",
        )
    ]


def _of_choice(run: RunReport) -> list[Finding]:
    """What more time or size would buy."""
    if run.selection is None:
        return []
    again = run.selection.chosen
    # A model that was trained again has a score of other rows than the candidates it was chosen from.
    chosen = next((one for one in run.selection.candidates if one.name == again.name), again)
    return [
        Finding(
            "note",
            f"{row['name']} scored {100 * (row['score'] - chosen.score):.1f} points more on the validation set, at "
            f"{_cost(row['latency_ms'], row['size_bytes'])} instead of {_cost(chosen.latency_ms, chosen.size_bytes)}.",
        )
        for row in pareto(run.selection.candidates)
        if row["on_front"] and row["score"] > chosen.score
    ]


def _cost(latency_ms: float | None, size_bytes: int) -> str:
    time = f"{latency_ms:.2f} ms a text and " if latency_ms else ""
    return f"{time}{size_bytes / 1e6:.1f} MB"


def _of_classes(evaluation: Evaluation) -> list[Finding]:
    found = []
    counted = {name: row for name, row in evaluation.per_class.items() if row["support"] >= 20}
    if len(counted) > 1:
        worst = min(counted, key=lambda name: counted[name]["recall"])
        recall = counted[worst]["recall"]
        level = "warn" if recall < 0.5 else "note"
        rows = f"{counted[worst]['support']:,.0f} test texts"
        found.append(Finding(level, f"The class found least often is “{worst}”: {percent(recall)} of its {rows}."))
    for one in evaluation.slices:
        if one["lower"]:
            found.append(
                Finding(
                    "warn",
                    f"Texts with {one['slice']} {one['value']} are answered worse than the others: "
                    f"{percent(one['accuracy']['value'])} of {one['rows']:,}.",
                )
            )
    return found


def _of_scores(evaluation: Evaluation) -> list[Finding]:
    error = evaluation.calibration["after"]["error"]
    if error <= _WELL_CALIBRATED:
        return [Finding("good", f"Scores can be read as probabilities: they are typically off by {percent(error)}.")]
    return [Finding("warn", f"Scores are typically off by {percent(error)}: a score of 90% does not mean 90% right.")]


def _of_labels(run: RunReport) -> list[Finding]:
    count = len(run.evaluation.label_errors) if run.evaluation else 0
    return [Finding("note", f"{count:,} labels look wrong and are listed for a person to check.")] if count else []


def _of_variants(run: RunReport) -> list[Finding]:
    found = []
    for one in run.optimised.variants if run.optimised else []:
        if one.picked and one.moved:
            found.append(
                Finding(
                    "note", f"A score moves by up to {one.moved:.4f} with the other texts of its batch ({one.name})."
                )
            )
        if not one.picked and one.reason:
            found.append(Finding("note", f"{one.name} is not served: {one.reason}"))
    return found
