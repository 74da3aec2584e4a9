"""What is compared between reference and live rows, each as features for a permutation test."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from scipy.stats import rankdata

from bentos.text_classifier.prediction_log import unpacked
from tasks.watching.drift.permutation import Statistic

_CLASSES = 200
_WAVES = 4
_FORM = ("capitals", "digits", "marks")


def statistics(rows: pa.Table) -> dict[str, Statistic]:
    """The statistics by name, of reference and live rows together; those that the rows do not hold are left out.

    length: distribution of the number of characters.
    form: distributions of the shares of capitals, digits and marks.
    script, ending, label: shares of the categories.
    rarity, unknown: n-grams that are rare in the training texts, or were in none.
    novelty: rarity, doubt and unusual length of a row together.
    confidence: lower calibrated scores.
    out of scope: the share that the scope rule turns away.
    n-grams: mean of the sketches; a new kind of text brings a few n-grams of its own.
    """
    found: dict[str, Statistic] = {}
    for name, columns, make in _MAKERS:
        values = [rows.column(column) for column in columns]
        if all(not column.null_count for column in values):
            statistic = make(*(column.to_numpy() for column in values))
            if np.ptp(statistic.features, axis=0).any():
                found[name] = statistic
    return found


def waves(*columns: np.ndarray) -> Statistic:
    """Whether any column's distribution differs: means of cosines of its ranks (Neyman's smooth test, 1937)."""
    ranks = np.stack([rankdata(column) / len(column) for column in columns], axis=1)
    return Statistic(np.concatenate([np.cos(np.pi * wave * ranks) for wave in range(1, _WAVES + 1)], axis=1), "both")


def tail(values: np.ndarray) -> Statistic:
    """Whether some live rows have much larger values: mean of Savage's scores (1956), exponential in the rank.

    A tenth of strange rows among ordinary ones moves a mean of ranks little and this one much.
    """
    ranks = rankdata(values)
    return Statistic(-np.log1p(-(ranks - 0.5) / len(ranks))[:, None], "more")


def categories(values: np.ndarray) -> Statistic:
    """Whether the categories' shares differ: Pearson's chi-squared; beyond the most frequent they are one."""
    names, places, counts = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    common = np.argsort(-counts, kind="stable")[:_CLASSES]
    column = np.full(len(names), min(len(common), len(names) - 1))
    column[common] = np.arange(len(common))
    indicators = np.eye(int(column.max()) + 1)[column[places]]
    return Statistic(indicators / np.sqrt(indicators.mean(axis=0)), "both")


def share(values: np.ndarray) -> Statistic:
    return Statistic(values.astype(np.float64)[:, None], "more")


def _doubt(scores: np.ndarray) -> np.ndarray:
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    return np.log((1 - clipped) / clipped)


def _scaled(values: np.ndarray) -> np.ndarray:
    return (values - np.median(values)) / max(float(values.std()), 1e-9)


def _novelty(rarity: np.ndarray, scores: np.ndarray, characters: np.ndarray) -> Statistic:
    length = np.log1p(characters)
    unusual = np.abs(length - np.median(length))
    return tail(_scaled(rarity) + _scaled(_doubt(scores)) + _scaled(unusual))


def _sketched(sketches: Sequence[str]) -> Statistic:
    features = unpacked(sketches)
    features -= features.mean(axis=0)
    return Statistic(features / np.maximum(features.std(axis=0), 1e-6), "both", power=4)


_MAKERS: Sequence[tuple[str, tuple[str, ...], Callable[..., Statistic]]] = (
    ("length", ("characters",), waves),
    ("form", _FORM, waves),
    ("script", ("script",), categories),
    ("ending", ("ending",), categories),
    ("n-grams", ("sketch",), _sketched),
    ("rarity", ("rarity",), tail),
    ("unknown", ("unknown",), tail),
    ("novelty", ("rarity", "score", "characters"), _novelty),
    ("label", ("label",), categories),
    ("confidence", ("score",), lambda scores: share(1 - scores)),
    ("out of scope", ("in_scope",), lambda inside: share(~inside.astype(bool))),
)
