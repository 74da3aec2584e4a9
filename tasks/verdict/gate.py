"""Stage: whether the variant that would be served is good enough to replace what is live."""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.stats import binomtest

from bentos.text_classifier.model import TextModel
from tasks.base.errors import InputError
from tasks.base.machine import open_model
from tasks.base.manifests import Evaluation, Optimised, Verdict
from tasks.base.settings import Budget, GateSettings
from tasks.verdict.evaluate import answers

FEW_ROWS = 20
"""A class with fewer test rows is not held to the recall floor: its recall is mostly chance."""


@dataclass(frozen=True)
class Check:
    """One question of the gate: what was asked for, what was found, and the p-value where a test decides."""

    name: str
    passed: bool
    found: str
    wanted: str
    p_value: float | None = None
    figure: float | None = None

    def record(self) -> dict[str, object]:
        return {
            "name": self.name,
            "passed": self.passed,
            "found": self.found,
            "wanted": self.wanted,
            "figure": self.figure,
            "p_value": self.p_value,
        }


@dataclass(frozen=True)
class Tested:
    """The test rows: texts, true answers and the model's, each as comparable text, and bool [rows] right."""

    texts: list[str]
    truths: list[str]
    correct: np.ndarray

    @classmethod
    def read(cls, predictions: Path) -> "Tested":
        table = pq.read_table(predictions)
        return cls(
            table["text"].to_pylist(),
            [_answer(label) for label in table["label"].to_pylist()],
            table["correct"].to_numpy(zero_copy_only=False).astype(bool),
        )


def gate(
    evaluation: Evaluation,
    optimised: Optimised,
    champion: TextModel | None,
    settings: GateSettings,
    budget: Budget,
    promote_anyway: str | None,
) -> Verdict:
    """Judges the calibrated, quantised variant by the test rows; `champion` is the model that is live.

    A refusal is a verdict, not an error: the flow writes the report first. With `promote_anyway` it
    becomes `overridden`, and the reason stands among the reasons.

    Raises:
        InputError: the file of behaviour cases cannot be used.
    """
    tested = Tested.read(evaluation.predictions)
    checks = [
        _beats_constant(tested, settings.significance),
        _beats_chance(tested, settings.significance),
        *_champion(tested, champion, settings.significance),
        *_recall(evaluation, settings.min_recall),
        *_accuracy(evaluation, settings.min_accuracy),
        *_behaviour(evaluation.folder, settings.behaviour),
        *_budget(evaluation.folder, optimised, budget),
    ]
    failed = [f"{check.name}: {check.found}; wanted: {check.wanted}" for check in checks if not check.passed]
    records = [check.record() for check in checks]
    if not failed:
        return Verdict(verdict="passed", reasons=[], checks=records)
    if promote_anyway:
        return Verdict(verdict="overridden", reasons=[f"promoted anyway: {promote_anyway}", *failed], checks=records)
    return Verdict(verdict="refused", reasons=failed, checks=records)


def better(wins: int, losses: int) -> float:
    """p-value of 'no better' from the rows where only one of two is right (McNemar's exact test, one-sided)."""
    return float(binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue) if wins + losses else 1.0


def _beats_constant(tested: Tested, level: float) -> Check:
    answer, count = Counter(tested.truths).most_common(1)[0]
    constant = np.array([truth == answer for truth in tested.truths])
    p_value = better(int((tested.correct & ~constant).sum()), int((constant & ~tested.correct).sum()))
    return Check(
        "better than always giving the most frequent answer",
        p_value < level,
        f"accuracy {tested.correct.mean():.1%} against {count / len(constant):.1%} when it is always {answer!r}"
        + _too_few(len(constant), p_value, level),
        f"better, p below {level:g}",
        p_value,
        float(tested.correct.mean()),
    )


def _beats_chance(tested: Tested, level: float) -> Check:
    """Against guessing each answer as often as it occurs."""
    rows = len(tested.truths)
    chance = sum((count / rows) ** 2 for count in Counter(tested.truths).values())
    p_value = float(binomtest(int(tested.correct.sum()), rows, min(chance, 1.0), alternative="greater").pvalue)
    return Check(
        "better than chance",
        p_value < level,
        f"accuracy {tested.correct.mean():.1%} against {chance:.1%} by guessing" + _too_few(rows, p_value, level),
        f"better, p below {level:g}",
        p_value,
        float(tested.correct.mean()),
    )


def _champion(tested: Tested, champion: TextModel | None, level: float) -> list[Check]:
    """Against the live model on the same rows: all of them, and those whose label both know if the labels differ."""
    if champion is None:
        return []
    theirs = np.array(
        [own == truth for own, truth in zip(_answers(champion, tested.texts), tested.truths, strict=True)]
    )
    checks = [_not_worse("not worse than the live model", tested.correct, theirs, level)]
    known = np.array([truth in champion.manifest.labels for truth in tested.truths])
    if known.any() and not known.all():
        checks.append(
            _not_worse(
                "not worse than the live model on the classes that it knows",
                tested.correct[known],
                theirs[known],
                level,
            )
        )
    return checks


def _not_worse(name: str, ours: np.ndarray, theirs: np.ndarray, level: float) -> Check:
    wins, losses = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
    p_value = better(losses, wins)
    return Check(
        name,
        p_value >= level,
        f"accuracy {ours.mean():.1%} against {theirs.mean():.1%} on {len(ours):,} rows; "
        f"{wins:,} only this model has right, {losses:,} only the live one",
        f"not worse (p at least {level:g})",
        p_value,
        float(ours.mean() - theirs.mean()),
    )


def _recall(evaluation: Evaluation, floor: float) -> list[Check]:
    counted = {name: row["recall"] for name, row in evaluation.per_class.items() if row["support"] >= FEW_ROWS}
    if not counted:
        return []
    lowest = min(counted, key=lambda name: counted[name])
    below = [f"{name!r} {recall:.1%}" for name, recall in counted.items() if recall < floor]
    found = f"below it: {', '.join(below)}" if below else f"lowest {counted[lowest]:.1%}, {lowest!r}"
    wanted = f"at least {floor:.0%} of every class with {FEW_ROWS} test rows or more"
    return [Check("recall of every class", not below, found, wanted, figure=counted[lowest])]


def _accuracy(evaluation: Evaluation, least: float | None) -> list[Check]:
    if least is None:
        return []
    found = evaluation.metrics["accuracy"].value
    return [Check("accuracy", found >= least, f"{found:.1%}", f"at least {least:.1%}", figure=found)]


def _behaviour(folder: Path, cases: Path | None) -> list[Check]:
    if cases is None:
        return []
    rows = read_cases(cases)
    own_answers = _answers(open_model(folder), [text for text, _ in rows])
    missed = [
        f"{text[:60]!r} is {own!r}, not {wanted!r}"
        for (text, wanted), own in zip(rows, own_answers, strict=True)
        if own != _answer(wanted.split("|") if "|" in wanted else wanted) and own != wanted
    ]
    found = f"{len(missed)} of {len(rows)} changed: " + "; ".join(missed[:5]) if missed else f"all {len(rows)} kept"
    return [Check("behaviour cases", not missed, found, "every text keeps its label", figure=float(len(missed)))]


def read_cases(path: Path) -> list[tuple[str, str]]:
    """Texts with the label that they must keep, from a CSV with the columns text and label.

    Raises:
        InputError: the file cannot be read, lacks a column or has a row without a text or label.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            missing = {"text", "label"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(
                    f"{path}: the behaviour cases need the columns text and label; {sorted(missing)[0]} is missing"
                )
            rows = []
            for row in reader:
                if not row["text"] or not row["label"]:
                    raise InputError(f"{path}, line {reader.line_num}: a behaviour case needs a text and a label")
                rows.append((row["text"], row["label"]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: the behaviour cases cannot be read: {error}") from error
    return rows


def _budget(folder: Path, optimised: Optimised, budget: Budget) -> list[Check]:
    checks = []
    if budget.max_latency_ms is not None:
        found = optimised.picked.latency_ms["1"]
        wanted = f"at most {budget.max_latency_ms:g} ms"
        checks.append(
            Check("latency of one text", found <= budget.max_latency_ms, f"{found:.2f} ms", wanted, None, found)
        )
    if budget.max_size_mb is not None:
        found = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6
        wanted = f"at most {budget.max_size_mb:g} MB"
        checks.append(Check("size of the model", found <= budget.max_size_mb, f"{found:.1f} MB", wanted, None, found))
    return checks


def _answers(model: TextModel, texts: list[str]) -> list[str]:
    """The model's whole answer for each text, in the comparable form of `_answer`."""
    return [_answer(label) for label, _ in answers(model, model.logits(texts), texts)]


def _answer(label: object) -> str:
    """A label, or several in order (`nothing` for none), as a text that is equal for equal answers."""
    return " | ".join(sorted(map(str, label))) or "nothing" if isinstance(label, list) else str(label)


def _too_few(rows: int, p_value: float, level: float) -> str:
    return f", on only {rows} test rows, too few to tell" if p_value >= level and rows < 5 * FEW_ROWS else ""
