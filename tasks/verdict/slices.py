"""Where a model is weaker: accuracy by length, script and any extra column of the test rows."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import hypergeom

from bentos.text_classifier.text import words
from tasks.base.manifests import Figure
from tasks.base.optional import NoResult
from tasks.data.profile import script_of_words
from tasks.kinds.intervals import proportion

MOST_VALUES = 20
"""Of an extra column; further values are gathered under 'other'."""

_EMPTY = "(empty)"
_LEAST_ROWS = 5
_SCRIPT_CHARACTERS = 200


def slices(texts: Sequence[str], correct: np.ndarray, extra: pa.Table) -> list[dict[str, Any]]:
    """Accuracy of each slice with its interval, and whether it is below the rest's beyond chance.

    `lower` is Fisher's exact test against all other rows, one-sided, at 5 % over all slices of one
    kind (Holm 1979).

    Args:
        correct: bool [rows].
        extra: the extra columns of the same rows.

    Raises:
        NoResult: nothing tells the rows apart.
    """
    parts = {"length": _lengths(texts), "script": _by_value([main_script(text) for text in texts])}
    parts |= {name: _values(extra[name].to_pylist()) for name in extra.column_names}
    found = []
    for name, part in parts.items():
        members = {value: inside for value, inside in part.items() if inside.sum() >= _LEAST_ROWS}
        if len(members) < 2:
            continue
        lower = _holm([_below(correct, inside) for inside in members.values()])
        for (value, inside), is_lower in zip(members.items(), lower, strict=True):
            share: Figure = proportion(int(correct[inside].sum()), int(inside.sum()))
            found.append(
                {"slice": name, "value": value, "rows": int(inside.sum())}
                | {"accuracy": share.model_dump(), "lower": is_lower}
            )
    if not found:
        raise NoResult(f"there are no two kinds of text with {_LEAST_ROWS} rows each")
    return found


def main_script(text: str) -> str:
    """The Unicode script of most of the text's first words; 'none' without letters."""
    return script_of_words(words(text[:_SCRIPT_CHARACTERS])) or "none"


def _lengths(texts: Sequence[str]) -> dict[str, np.ndarray]:
    return {f"{name} characters": inside for name, inside in _quarters(np.array([len(text) for text in texts])).items()}


def _values(values: list[Any]) -> dict[str, np.ndarray]:
    empty = np.array([value is None or value == "" for value in values])
    numbers = np.array([_number(value) for value in values])
    if np.isfinite(numbers[~empty]).all() and len(np.unique(numbers[~empty])) > MOST_VALUES:
        places = np.flatnonzero(~empty)
        every = np.arange(len(values))
        ranges = {name: np.isin(every, places[inside]) for name, inside in _quarters(numbers[places]).items()}
        return ranges | ({_EMPTY: empty} if empty.any() else {})
    named = [_EMPTY if is_empty else str(value) for value, is_empty in zip(values, empty, strict=True)]
    kept = {value for value, _ in Counter(named).most_common(MOST_VALUES)}
    return _by_value([value if value in kept else "other" for value in named])


def _number(value: Any) -> float:
    """The number that the value is, or is written as; not finite when it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _quarters(numbers: np.ndarray) -> dict[str, np.ndarray]:
    """The rows in each quarter of the numbers, named by its least and largest, lowest first."""
    edges = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75], method="lower"))
    quarter = np.searchsorted(edges, numbers)
    members = [quarter == index for index in np.unique(quarter)]
    return {f"{numbers[inside].min():g}–{numbers[inside].max():g}": inside for inside in members}


def _by_value(values: list[str]) -> dict[str, np.ndarray]:
    """The rows of each value, most frequent first."""
    column = np.array(values, dtype=object)
    return {value: column == value for value, _ in Counter(values).most_common()}


def _below(correct: np.ndarray, inside: np.ndarray) -> float:
    """Chance of so few right answers inside when inside and outside are alike."""
    return float(hypergeom.cdf(correct[inside].sum(), len(correct), correct.sum(), inside.sum()))


def _holm(p_values: list[float], level: float = 0.05) -> list[bool]:
    order = np.argsort(p_values)
    rejected = [False] * len(p_values)
    for rank, index in enumerate(order.tolist()):
        if p_values[index] > level / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected
