"""What differs between the kinds of task when a model is judged: its default metric and its figures.

(How labels of each kind are read stands in `label_kinds.py`, how a model of each is trained in `losses.py`.)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import f1_score


@dataclass(frozen=True)
class Kind:
    """`metrics` takes logits and targets of the same rows and gives fractions by name."""

    metric: str
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]]


def _single(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    predicted = logits.argmax(axis=-1)
    return {
        "accuracy": float(np.mean(predicted == targets)),
        "macro_f1": float(f1_score(targets, predicted, average="macro", zero_division=0)),
    }


def _multi(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    predicted = logits > 0.0
    return {
        "accuracy": float(np.mean(np.all(predicted == targets, axis=1))),
        "macro_f1": float(f1_score(targets, predicted, average="macro", zero_division=0)),
        "micro_f1": float(f1_score(targets, predicted, average="micro", zero_division=0)),
    }


KINDS: dict[str, Kind] = {
    "single": Kind("accuracy", _single),
    "multi": Kind("micro_f1", _multi),
}


def standard_error(
    metric: str, logits: np.ndarray, targets: np.ndarray, kind: Kind, seed: int, rounds: int = 100
) -> float:
    """Standard error of a metric: of a proportion for accuracy, from `rounds` bootstrap draws for others."""
    rows = len(targets)
    if rows < 2:
        return 0.0
    if metric == "accuracy":
        share = kind.metrics(logits, targets)["accuracy"]
        return float(np.sqrt(share * (1.0 - share) / rows))
    generator = np.random.default_rng(seed)
    draws = (generator.integers(rows, size=rows) for _ in range(rounds))
    return float(np.std([kind.metrics(logits[draw], targets[draw])[metric] for draw in draws]))
