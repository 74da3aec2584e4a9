"""Stage: choose among the trained candidates by rows that were held out and the budget."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bentos.text_classifier.manifest import Manifest
from tasks.base.errors import InputError
from tasks.base.manifests import Candidate, Dataset, Selection
from tasks.base.settings import Budget, TrainSettings
from tasks.candidates.cross_validation import HELD_OUT, pooled_targets
from tasks.kinds.figures import drawn
from tasks.kinds.registry import KINDS, outcome_of, standard_error
from tasks.learning.candidate import VALIDATION_LOGITS, VALIDATION_TARGETS
from tasks.learning.examples import rows_of

FASTER = 0.2
"""An equal candidate is preferred when it needs at most this share of the best one's time.

"Equal" gives up to a standard error of accuracy away, which a little speed is not worth.
"""

_ROUNDS = 200


def select(
    candidates: list[Candidate], skipped: dict[str, str], dataset: Dataset, train: TrainSettings, budget: Budget
) -> Selection:
    """The fastest candidate that is not told apart from the best one within the budget.

    The one-standard-error rule (Breiman et al. 1984), with the error of the *difference* from the
    best candidate on the same held-out rows, which is smaller than that of either score.

    Raises:
        InputError: there is no candidate.
    """
    if not candidates:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise InputError(
            f"no candidate was trained ({reasons or 'none was asked for'}): name others in train.candidates"
        )
    metric = train.metric or KINDS[dataset.task].metric
    candidates = comparable(candidates, dataset, metric)
    ranked = _ranked(candidates)
    fitting = [one for one in ranked if not _over(one, budget)]
    if not fitting:
        chosen = min(ranked, key=lambda one: (len(_over(one, budget)), _cost(one), one.size_bytes))
        reason = (
            f"{chosen.name} was chosen because it comes nearest to the budget, which no candidate keeps to: "
            + "; ".join(_over(chosen, budget))
        )
        return Selection(chosen=chosen, reason=reason, candidates=candidates, skipped=skipped)
    best = fitting[0]
    errors, equals = _rivals(fitting, dataset, metric)
    faster = [one for one in equals if _cost(one) <= FASTER * _cost(best)]
    chosen = min(faster, key=lambda one: (_cost(one), -one.score), default=best)
    if chosen is best:
        reason = _best_reason(best, ranked, fitting, equals, f"{_words(metric)} {judged_on(best, dataset)}")
    else:
        reason = _equal_reason(chosen, best, errors[chosen.name], f"{_words(metric)} {judged_on(chosen, dataset)}")
    dearer = [one for one in ranked if one.score > best.score]
    if dearer:
        over = "; ".join(_over(dearer[0], budget))
        reason += f"; {dearer[0].name} with {dearer[0].score:.1%} is over the budget ({over})"
    return Selection(chosen=chosen, reason=reason + ".", candidates=candidates, skipped=skipped)


def undecided(candidates: list[Candidate], dataset: Dataset, train: TrainSettings, budget: Budget) -> list[str]:
    """The best candidate within the budget and those that are not told apart from it; nothing when there are none."""
    metric = train.metric or KINDS[dataset.task].metric
    if len({one.folds for one in candidates}) > 1:
        return []
    fitting = [one for one in _ranked(candidates) if not _over(one, budget)]
    equals = _rivals(fitting, dataset, metric)[1] if fitting else []
    return [one.name for one in (fitting[0], *equals)] if equals else []


def over_seeds(tried: Sequence[Candidate]) -> Candidate:
    """The first of several trainings of one candidate, with the mean of the scores of all."""
    scores = [one.score for one in tried]
    return tried[0].model_copy(update={"scores": scores, "score": float(np.mean(scores))})


def comparable(candidates: list[Candidate], dataset: Dataset, metric: str) -> list[Candidate]:
    """The candidates with scores of the same rows: of the validation set, unless all had the same folds."""
    if len({one.folds for one in candidates}) == 1:
        return candidates
    kind = KINDS[dataset.task]
    judged = []
    for one in candidates:
        targets = validation_targets(one, dataset)
        logits = np.load(one.folder / VALIDATION_LOGITS)
        metrics = kind.metrics(logits, targets)
        error = standard_error(metric, logits, targets, kind, 0)
        anew = {"score": metrics[metric], "error": error, "metrics": metrics, "folds": 0, "scores": []}
        judged.append(one.model_copy(update=anew))
    return judged


def held_out(candidate: Candidate, dataset: Dataset) -> tuple[np.ndarray, np.ndarray] | None:
    """Logits and targets of the rows that the candidate's score is of; None when it left no logits."""
    file = candidate.folder / (HELD_OUT if candidate.folds else VALIDATION_LOGITS)
    targets = pooled_targets(dataset) if candidate.folds else validation_targets(candidate, dataset)
    if not file.exists():
        return None
    logits = np.load(file)
    if len(logits) != len(targets):
        return None
    known = ~np.isnan(logits.reshape(len(logits), -1)).any(axis=1)
    return logits[known], targets[known]


def validation_targets(candidate: Candidate, dataset: Dataset) -> np.ndarray:
    """Targets of the validation set in the form that the candidate learned."""
    if KINDS[dataset.task].pooled:
        return rows_of(dataset, "validation")[1]
    return np.load(candidate.folder / VALIDATION_TARGETS)


def judged_on(candidate: Candidate, dataset: Dataset) -> str:
    """Which rows the candidate's score is of, in words; `dataset` is the one that it was trained on."""
    validation = f"on {dataset.rows['validation']:,} validation rows"
    rows = f"in {candidate.folds}-fold cross-validation" if candidate.folds else validation
    return f"{rows} (mean of {len(candidate.scores)} seeds)" if candidate.scores else rows


def pareto(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Every candidate with its score, latency and size, best first, and whether no other is better in all.

    `on_front` candidates are the ones worth having: more accuracy costs time or size.
    """
    return [
        {
            "name": one.name,
            "score": one.score,
            "latency_ms": one.latency_ms,
            "size_bytes": one.size_bytes,
            "on_front": not any(_dominates(other, one) for other in candidates),
        }
        for one in sorted(candidates, key=lambda one: (-one.score, _cost(one)))
    ]


def _dominates(one: Candidate, other: Candidate) -> bool:
    pairs = [(one.score, other.score), (-_cost(one), -_cost(other)), (-one.size_bytes, -other.size_bytes)]
    return all(mine >= theirs for mine, theirs in pairs) and any(mine > theirs for mine, theirs in pairs)


def _error_of_difference(best: Candidate, other: Candidate, dataset: Dataset, metric: str) -> float:
    """Standard error of the difference of two candidates' scores, by draws of the same held-out rows for both."""
    rows = [held_out(one, dataset) for one in (best, other)]
    if rows[0] is None or rows[1] is None:
        # Without the rows the scores count as independent, which errs on the side of 'equal'.
        return float(np.hypot(best.error, other.error))
    manifest = Manifest(task=dataset.task, labels=KINDS[dataset.task].outputs(dataset.labels), encoders=[])
    first, second = (drawn(outcome_of(*row, manifest), metric, seed=0, rounds=_ROUNDS) for row in rows if row)
    return float(np.std(first - second))


def _ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    return sorted(candidates, key=lambda one: (-one.score, _cost(one), one.size_bytes, one.name))


def _rivals(fitting: list[Candidate], dataset: Dataset, metric: str) -> tuple[dict[str, float], list[Candidate]]:
    """The error of each candidate's difference from the first, which is the best; and those that are within it."""
    best, *others = fitting
    errors = {one.name: _error_of_difference(best, one, dataset, metric) for one in others}
    return errors, [one for one in others if best.score - one.score <= errors[one.name]]


def _over(candidate: Candidate, budget: Budget) -> list[str]:
    """What of the budget a candidate breaks, in words."""
    broken = []
    if budget.max_latency_ms and candidate.latency_ms and candidate.latency_ms > budget.max_latency_ms:
        broken.append(f"{candidate.latency_ms:.2f} ms a text, {budget.max_latency_ms:g} ms allowed")
    if budget.max_size_mb and candidate.size_bytes > budget.max_size_mb * 1e6:
        broken.append(f"{candidate.size_bytes / 1e6:.1f} MB, {budget.max_size_mb:g} MB allowed")
    return broken


def _cost(candidate: Candidate) -> float:
    """Milliseconds a text; infinite when it was not measured, so that no speed is claimed for it."""
    return candidate.latency_ms if candidate.latency_ms else float("inf")


def _best_reason(
    best: Candidate, ranked: list[Candidate], fitting: list[Candidate], equals: list[Candidate], judged: str
) -> str:
    """`judged` is the metric and the rows that it was measured on, in words."""
    if len(fitting) == 1:
        only = "that was trained" if len(ranked) == 1 else "within the budget"
        return f"{best.name} was chosen because it is the only candidate {only} ({judged}: {best.score:.1%})"
    reason = f"{best.name} was chosen because its {judged}, {best.score:.1%}, is the best"
    if equals:
        names = ", ".join(one.name for one in equals)
        return f"{reason}, by no more than chance over {names}, which would not answer much faster"
    return f"{reason}; {fitting[1].name} has {fitting[1].score:.1%}, lower by more than chance explains"


def _equal_reason(chosen: Candidate, best: Candidate, error: float, judged: str) -> str:
    return (
        f"{chosen.name} was chosen because it answers {_cost(best) / _cost(chosen):.1f} times as fast as {best.name}, "
        f"and its {judged}, {chosen.score:.1%}, is within one standard error ({100 * error:.1f} points) of the best, "
        f"{best.score:.1%}"
    )


def _words(metric: str) -> str:
    return metric.replace("_", " ").replace("f1", "F1")
