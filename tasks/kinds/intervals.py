"""How sure a figure is: intervals of shares, and draws of rows."""

from collections.abc import Iterator

import numpy as np
from scipy import stats

from tasks.base.manifests import Figure

ROUNDS = 1000
"""Bootstrap draws; fewer for very many rows, where intervals are narrow anyway."""


FEWEST = 200
_DRAWN = 50_000_000
_BLOCK = 4_000_000


def resamples(rows: int, seed: int, rounds: int = ROUNDS) -> Iterator[np.ndarray]:
    """How often each row is drawn: float32 [draws, rows] in blocks, `rounds` in all, fewer for very many rows."""
    generator = np.random.default_rng(seed)
    left = min(rounds, max(FEWEST, _DRAWN // max(rows, 1)))
    while left:
        block = min(left, max(1, _BLOCK // max(rows, 1)))
        drawn = generator.integers(rows, size=(block, rows))
        yield np.stack([np.bincount(draw, minlength=rows) for draw in drawn]).astype(np.float32)
        left -= block


def proportion(hits: int, rows: int) -> Figure:
    """A share with Wilson's 95 % interval; 0 to 1 when there are no rows."""
    if rows == 0:
        return Figure(value=0.0, low=0.0, high=1.0)
    interval = stats.binomtest(hits, rows).proportion_ci(0.95, method="wilson")
    return Figure(value=hits / rows, low=float(interval.low), high=float(interval.high))


def percentiles(value: float, drawn: np.ndarray) -> Figure:
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Figure(value=value, low=float(min(low, value)), high=float(max(high, value)))
