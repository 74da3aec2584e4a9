"""What differs between the kinds of task when a model is judged: its default metric and its figures.

(How labels of each kind are read stands in `label_kinds.py`, how a model of each is trained in `losses.py`.)
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bentos.text_classifier.manifest import Manifest
from tasks import outcome, scaling
from tasks.metrics import Counts, Outcome, macro_f1, micro_f1


@dataclass(frozen=True)
class Kind:
    """`metrics` takes logits and targets of the same rows and gives fractions by name, quickly.

    `outcome` takes probabilities, targets and manifest for the full figures of a test part, of which
    `figures` names those that mean something here. `temperature` takes logits and targets, `thresholds`
    those and the temperature, to calibrate what is served.
    """

    metric: str
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]]
    outcome: Callable[[np.ndarray, np.ndarray, Manifest], Outcome]
    figures: tuple[str, ...]
    temperature: Callable[[np.ndarray, np.ndarray], float]
    thresholds: Callable[[np.ndarray, np.ndarray, float], list[float]] | None = None
    pooled: bool = True


def _single(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    predicted = logits.argmax(axis=-1)
    right = predicted == targets
    labels = logits.shape[-1]
    counts = Counts(
        *(np.bincount(each, minlength=labels).astype(float) for each in (targets[right], predicted, targets))
    )
    return {"accuracy": float(right.mean()), "macro_f1": float(macro_f1(counts))}


def _multi(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    predicted, actual = logits > 0.0, targets > 0
    counts = Counts(*(each.sum(axis=0).astype(float) for each in (predicted & actual, predicted, actual)))
    return {
        "accuracy": float((predicted == actual).all(axis=1).mean()),
        "macro_f1": float(macro_f1(counts)),
        "micro_f1": float(micro_f1(counts)),
    }


KINDS: dict[str, Kind] = {
    "single": Kind(
        "accuracy",
        _single,
        outcome.single,
        ("macro_f1", "weighted_f1", "macro_precision", "macro_recall", "matthews"),
        scaling.softmax_temperature,
    ),
    "multi": Kind(
        "micro_f1",
        _multi,
        outcome.multi,
        ("micro_f1", "macro_f1", "weighted_f1"),
        scaling.sigmoid_temperature,
        scaling.f1_thresholds,
    ),
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
