"""Permutation tests of several statistics at once, with one stated rate of false alarms over all of them.

Every statistic compares means of live rows with those of all rows. Under "nothing has changed" reference
and live rows can be exchanged, so shuffling which rows are live gives each statistic's distribution
exactly, whatever it is. The p-values are corrected by their joint distribution over the same shuffles
(single-step minP of Westfall and Young 1993): it keeps the rate over the whole family and, unlike
Bonferroni's correction, does not pay for statistics that say the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

Side = Literal["more", "both"]

_LOOK = 2_000
_HOPELESS = 10.0
_AT_ONCE = 500


@dataclass(frozen=True)
class Statistic:
    """`features`, float [rows, columns], the reference's rows first.

    `more` has one column and asks whether live rows have more of it; `both` asks whether the live means
    differ from the others at all: the sum over the columns of the differences' squares or, with `power` 4, of their
    fourth powers, which sees large differences in few of many columns.
    """

    features: np.ndarray
    side: Side
    power: Literal[2, 4] = 2


def corrected_p_values(
    statistics: Mapping[str, Statistic], reference_rows: int, alpha: float, seed: int
) -> dict[str, tuple[float, float]]:
    """For each statistic its p-value and that corrected for all of them; nothing where no statistic differs anywhere.

    The number of shuffles is such that the smallest p-values can be told from `alpha`. When a first
    look shows that none will come near, the rest is left out; that can lose an alarm and never raise one.
    """
    if not statistics:
        return {}
    shuffles = max(_LOOK, int(1.5 * len(statistics) / alpha))
    generator = np.random.default_rng(seed)
    draws = _Draws(statistics, reference_rows)
    values = draws.shuffled(_LOOK, generator)
    p, corrected = _p_values(values, draws.observed)
    if corrected.min() <= _HOPELESS * max(alpha, 1 / _LOOK) and shuffles > _LOOK:
        values = np.concatenate([values, draws.shuffled(shuffles - _LOOK, generator)])
        p, corrected = _p_values(values, draws.observed)
    return {name: (float(p[index]), float(corrected[index])) for index, name in enumerate(statistics)}


class _Draws:
    """All statistics as one matrix, so that a shuffle is one row of one product."""

    def __init__(self, statistics: Mapping[str, Statistic], reference_rows: int) -> None:
        self._sides = [statistic.side for statistic in statistics.values()]
        widths = [statistic.features.shape[1] for statistic in statistics.values()]
        self._starts = np.cumsum([0, *widths])[:-1]
        self._fourth = np.repeat([statistic.power == 4 for statistic in statistics.values()], widths)
        matrix = np.concatenate([statistic.features for statistic in statistics.values()], axis=1)
        self._matrix = (matrix - matrix.mean(axis=0)).astype(np.float32)
        self._live = len(matrix) - reference_rows
        weights = np.zeros((1, len(matrix)), np.float32)
        weights[0, reference_rows:] = 1 / self._live
        self.observed = self._values(weights)[0]

    def shuffled(self, count: int, generator: np.random.Generator) -> np.ndarray:
        """The statistics under `count` shuffles, float32 [count, statistics]."""
        rows = len(self._matrix)
        found = []
        for start in range(0, count, _AT_ONCE):
            size = min(_AT_ONCE, count - start)
            chosen = np.argpartition(generator.random((size, rows), np.float32), self._live - 1, axis=1)
            weights = np.zeros((size, rows), np.float32)
            np.put_along_axis(weights, chosen[:, : self._live], 1 / self._live, axis=1)
            found.append(self._values(weights))
        return np.concatenate(found)

    def _values(self, weights: np.ndarray) -> np.ndarray:
        means = weights @ self._matrix
        more = means[:, self._starts]
        np.square(means, out=means)
        means[:, self._fourth] **= 2
        sums = np.add.reduceat(means, self._starts, axis=1)
        return np.where([side == "more" for side in self._sides], more, sums)


def _p_values(values: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each statistic's p-value, and the chance that the smallest of all would be as small."""
    # Rounding must not turn an equal value into a smaller one.
    all_values = np.concatenate([observed[None], values]).astype(np.float64)
    all_values = np.round(all_values / np.maximum(np.abs(all_values).max(axis=0), 1e-30), 6)
    count = len(all_values)
    ordered = np.sort(all_values, axis=0)
    p = np.stack(
        [count - np.searchsorted(ordered[:, each], all_values[:, each], "left") for each in range(len(observed))], 1
    ) / count  # fmt: skip
    smallest = np.sort(p.min(axis=1))
    corrected = np.searchsorted(smallest, p[0], "right") / count
    return p[0], corrected
