"""How far scores are from the share of answers that are right."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from tasks.base.manifests import Figure
from tasks.kinds.intervals import proportion

BINS = 15
"""Of the reliability diagram, each holding equally many rows."""


@dataclass(frozen=True)
class Bins:
    """Confidences in `BINS` bins of equally many pairs, with the calibration error over them.

    count, confidence, correct: float64 [bins], rows and sums over them. of_pair: int [pairs], each pair's bin.
    """

    count: np.ndarray
    confidence: np.ndarray
    correct: np.ndarray
    of_pair: np.ndarray
    pairs: tuple[np.ndarray, np.ndarray]

    @classmethod
    def of(cls, confidence: np.ndarray, correct: np.ndarray) -> "Bins":
        confidence, correct = confidence.astype(np.float64), correct.astype(np.float64)
        of_pair = np.empty(len(confidence), np.int64)
        of_pair[np.argsort(confidence, kind="stable")] = np.arange(len(confidence)) * BINS // max(len(confidence), 1)
        count = np.bincount(of_pair, minlength=BINS).astype(np.float64)
        sums = [np.bincount(of_pair, weights, BINS) for weights in (confidence, correct)]
        return cls(count, sums[0], sums[1], of_pair, (confidence, correct))

    @property
    def error(self) -> float:
        """Expected calibration error, bias-corrected; see `squared_error`."""
        return _root(squared_error(self.count, self.confidence, self.correct))

    @property
    def plug_in(self) -> float:
        """The classic expected calibration error: mean absolute gap, what chance adds included."""
        return float(np.abs(self.correct - self.confidence).sum() / max(self.count.sum(), 1.0))

    def interval(self, drawn: np.ndarray) -> Figure:
        """The error with its pivotal interval from the `squared_error` of bootstrap draws.

        Draws stray around the sample's own gaps, chance included, not around the true ones; so the
        interval is that of their distance from those.
        """
        square = float(squared_error(self.count, self.confidence, self.correct))
        gaps = (self.correct - self.confidence) ** 2 / np.maximum(self.count, 1.0)
        low, high = np.quantile(drawn, [0.025, 0.975]) - gaps.sum() / max(self.count.sum(), 1.0)
        return Figure(value=_root(square), low=_root(square - high), high=_root(square - low))

    def by_row(self, row: np.ndarray, rows: int) -> tuple[csr_array, csr_array, csr_array]:
        """What each row adds to `count`, `confidence` and `correct`: sparse [rows, bins]."""
        values = (np.ones(len(row)), *self.pairs)
        first, second, third = (csr_array((value, (row, self.of_pair)), shape=(rows, BINS)) for value in values)
        return first, second, third

    def table(self) -> list[dict[str, float]]:
        """One entry a filled bin: mean confidence, accuracy with its interval, rows."""
        entries = []
        for count, confidence, correct in zip(self.count, self.confidence, self.correct, strict=True):
            if count:
                share = proportion(int(correct), int(count))
                entries.append(
                    {"confidence": float(confidence / count), "accuracy": share.value, "low": share.low}
                    | {"high": share.high, "rows": int(count)}
                )
        return entries

    def summary(self) -> dict[str, Any]:
        return {"error": self.error, "plug_in": self.plug_in, "bins": self.table()}


def squared_error(count: np.ndarray, confidence: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Mean squared calibration error without the bias of small bins, from sums over bins [..., bins].

    A bin's accuracy strays around its expectation, so that even a calibrated model shows gaps; the
    variance that this adds to the square is subtracted (Kumar, Liang and Ma 2019), which can leave
    less than nothing. The root is at least the mean absolute gap, the classic expected error.
    """
    rows = np.maximum(count, 1.0)
    accuracy = correct / rows
    chance = accuracy * (1.0 - accuracy) / np.maximum(rows - 1.0, 1.0)
    gap = (correct - confidence) / rows
    return (count * (gap**2 - chance)).sum(axis=-1) / np.maximum(count.sum(axis=-1), 1.0)


def _root(square: float | np.ndarray) -> float:
    return float(np.sqrt(max(float(square), 0.0)))
