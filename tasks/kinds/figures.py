"""How good a classifier is and how sure that is: figures of a test part with 95 % intervals.

All kinds of task are judged alike through an `Outcome`: counts of right answers, answers and truths
by row and label give precision, recall and every F1; confidences with their fate give calibration.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from tasks.base.manifests import Figure
from tasks.kinds.calibration import Bins, squared_error
from tasks.kinds.intervals import FEWEST, ROUNDS, percentiles, proportion, resamples

_RANKED = 40_000_000


@dataclass(frozen=True)
class Outcome:
    """What came of every test row.

    hits, predicted, actual: float32 sparse [rows, labels], how many right answers, answers and truths
    the row has of a label (0 or 1 but for tagging). exact: bool [rows], the whole answer is right.
    confidence, correct, row: [pairs], a score shown to the user, whether it came true, and its row.
    loss: float64 [rows], negative log likelihood in nats, where the task has one. scores, truths:
    [rows, labels], probabilities and bool, for ranking figures where the task has them.
    """

    hits: csr_array
    predicted: csr_array
    actual: csr_array
    exact: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray
    row: np.ndarray
    loss: np.ndarray | None = None
    scores: np.ndarray | None = None
    truths: np.ndarray | None = None

    @property
    def rows(self) -> int:
        return len(self.exact)


@dataclass(frozen=True)
class Counts:
    """Hits, answers and truths by label: float64 [..., labels]; leading axes are bootstrap draws."""

    hits: np.ndarray
    predicted: np.ndarray
    actual: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        return _ratio(self.hits, self.predicted)

    @property
    def recall(self) -> np.ndarray:
        return _ratio(self.hits, self.actual)

    @property
    def f1(self) -> np.ndarray:
        return _ratio(2 * self.hits, self.predicted + self.actual)


def macro_f1(counts: Counts) -> np.ndarray:
    """Mean F1 over the labels that occur as truth or answer, as scikit-learn's `macro`."""
    return _mean(counts.f1, counts.predicted + counts.actual > 0)


def macro_precision(counts: Counts) -> np.ndarray:
    return _mean(counts.precision, counts.predicted + counts.actual > 0)


def macro_recall(counts: Counts) -> np.ndarray:
    """Mean recall over the labels that occur as truth: balanced accuracy."""
    return _mean(counts.recall, counts.actual > 0)


def weighted_f1(counts: Counts) -> np.ndarray:
    """Mean F1 weighted by the truths of each label."""
    return _ratio((counts.f1 * counts.actual).sum(axis=-1), counts.actual.sum(axis=-1))


def micro_f1(counts: Counts) -> np.ndarray:
    """F1 of all labels' counts together."""
    return _ratio(2 * counts.hits.sum(axis=-1), (counts.predicted + counts.actual).sum(axis=-1))


def matthews(counts: Counts) -> np.ndarray:
    """Matthews correlation of several classes (Gorodkin 2004); 0 where truth or answer is constant."""
    rows = counts.actual.sum(axis=-1)
    covariance = counts.hits.sum(axis=-1) * rows - (counts.predicted * counts.actual).sum(axis=-1)
    spread = (rows**2 - (counts.predicted**2).sum(axis=-1)) * (rows**2 - (counts.actual**2).sum(axis=-1))
    return _ratio(covariance, np.sqrt(np.maximum(spread, 0.0)))


COUNTED: dict[str, Callable[[Counts], np.ndarray]] = {
    "macro_f1": macro_f1,
    "micro_f1": micro_f1,
    "span_f1": micro_f1,
    "weighted_f1": weighted_f1,
    "macro_precision": macro_precision,
    "macro_recall": macro_recall,
    "matthews": matthews,
}


@dataclass(frozen=True)
class Measured:
    """Every figure by name, and by label its precision, recall, F1 (with interval) and support."""

    figures: dict[str, Figure]
    per_label: list[dict[str, float]]


def measure(outcome: Outcome, seed: int, names: tuple[str, ...] = tuple(COUNTED), rounds: int = ROUNDS) -> Measured:
    """All figures of `outcome`, with percentile bootstrap intervals over rows (Efron 1979).

    `names` are the figures from `COUNTED` that mean something for the task. Accuracy has Wilson's
    interval, since the bootstrap gives none where every answer is right. Ranking figures of many labels
    take fewer draws.
    """
    bins = Bins.of(outcome.confidence, outcome.correct)
    total = _weighted(outcome, np.ones((1, outcome.rows), np.float32))
    blocks: dict[str, list[np.ndarray]] = {name: [] for name in names}
    losses: list[np.ndarray] = []
    gaps: list[np.ndarray] = []
    f1s: list[np.ndarray] = []
    per_row = bins.by_row(outcome.row, outcome.rows)
    for weights in resamples(outcome.rows, seed, rounds):
        counts = _weighted(outcome, weights)
        f1s.append(counts.f1)
        for name in names:
            blocks[name].append(COUNTED[name](counts))
        if outcome.loss is not None:
            losses.append(weights @ outcome.loss / outcome.rows)
        gaps.append(squared_error(*((matrix.T @ weights.T).T for matrix in per_row)))
    figures = {"accuracy": proportion(int(outcome.exact.sum()), outcome.rows)}
    for name in names:
        figures[name] = percentiles(float(COUNTED[name](total)[0]), np.concatenate(blocks[name]))
    if outcome.loss is not None:
        figures["log_loss"] = percentiles(float(outcome.loss.mean()), np.concatenate(losses))
    figures |= ranking(outcome, seed, rounds)
    figures["expected_calibration_error"] = bins.interval(np.concatenate(gaps))
    return Measured(figures, _per_label(total, np.concatenate(f1s)))


def drawn(outcome: Outcome, name: str, seed: int, rounds: int = ROUNDS) -> np.ndarray:
    """One figure (accuracy or one of `COUNTED`) for each bootstrap draw of the rows: float64 [draws].

    Two outcomes of the same rows and seed get the same draws, so that their difference is a paired one.
    """
    blocks = resamples(outcome.rows, seed, rounds)
    if name == "accuracy":
        return np.concatenate([weights @ outcome.exact / outcome.rows for weights in blocks])
    return np.concatenate([COUNTED[name](_weighted(outcome, weights)) for weights in blocks])


def ranking(outcome: Outcome, seed: int, rounds: int = ROUNDS) -> dict[str, Figure]:
    """Areas under the ROC and the precision-recall curve, one label against the rest, averaged over labels.

    Labels need a row inside and one outside; without any the figures are left out.
    """
    if outcome.scores is None or outcome.truths is None:
        return {}
    inside = outcome.truths.sum(axis=0)
    labels = np.flatnonzero((inside > 0) & (inside < outcome.rows))
    if not len(labels):
        return {}
    everyone = np.ones((1, outcome.rows), np.float32)
    value = np.mean([_areas(outcome.scores[:, k], outcome.truths[:, k], everyone) for k in labels], axis=0)[:, 0]
    rounds = min(rounds, max(FEWEST, _RANKED // (outcome.rows * len(labels))))
    areas: list[np.ndarray] = []
    for weights in resamples(outcome.rows, seed, rounds):
        found = np.stack([_areas(outcome.scores[:, k], outcome.truths[:, k], weights) for k in labels])
        # A draw may miss every row of a label, or every other row.
        areas.append(np.ma.masked_invalid(found).mean(axis=0).filled(np.nan))
    roc, precision_recall = np.concatenate(areas, axis=1)
    return {
        "roc_auc": percentiles(float(value[0]), roc),
        "pr_auc": percentiles(float(value[1]), precision_recall),
    }


def _areas(scores: np.ndarray, truths: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ROC area and average precision of one label for each draw: float64 [2, draws]; NaN without positives."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    weighted = weights[:, order]
    inside = np.add.reduceat(weighted * truths[order], starts, axis=1)
    outside = np.add.reduceat(weighted * ~truths[order], starts, axis=1)
    above, false = np.cumsum(inside, axis=1), np.cumsum(outside, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        roc = (outside * (above - inside / 2)).sum(axis=1) / (above[:, -1] * false[:, -1])
        precision = np.where(above > 0, above / (above + false), 0.0)
        return np.stack([roc, (inside * precision).sum(axis=1) / above[:, -1]]).astype(np.float64)


def _weighted(outcome: Outcome, weights: np.ndarray) -> Counts:
    """Counts [draws, labels] under row weights [draws, rows]."""
    matrices = (outcome.hits, outcome.predicted, outcome.actual)
    return Counts(*(np.asarray((matrix.T @ weights.T).T, np.float64) for matrix in matrices))


def _per_label(total: Counts, drawn: np.ndarray) -> list[dict[str, float]]:
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    columns = {
        "precision": total.precision,
        "recall": total.recall,
        "f1": total.f1,
        "f1_low": np.minimum(low, total.f1),
        "f1_high": np.maximum(high, total.f1),
        "support": total.actual,
    }
    return [
        {name: float(column[0, label]) for name, column in columns.items()} for label in range(total.actual.shape[-1])
    ]


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above, np.float64), where=below > 0)


def _mean(values: np.ndarray, counted: np.ndarray) -> np.ndarray:
    return _ratio((values * counted).sum(axis=-1), counted.sum(axis=-1).astype(np.float64))
