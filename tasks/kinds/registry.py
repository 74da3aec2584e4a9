"""What differs between the kinds of task when a model is trained and judged: targets, metric, figures, answers.

(How labels of each kind are read stands in `label_kinds.py`, how a model of each is trained in `losses.py`.)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bentos.text_classifier.decoding import DECODERS, Prediction
from bentos.text_classifier.encoding import Encoder
from bentos.text_classifier.manifest import Manifest
from bentos.text_classifier.tagging import tag_names
from tasks.kinds import outcome, scaling, tagging
from tasks.kinds.figures import Counts, Outcome, macro_f1, micro_f1


@dataclass(frozen=True)
class Kind:
    """`metrics` takes logits and targets of the same rows and gives fractions by name, quickly.

    `outcome` takes probabilities, targets and manifest for the full figures of a test part, of which
    `figures` names those that mean something here. `temperature` takes logits and targets, `thresholds`
    those and the temperature, to calibrate what is served; where there is `power`, it gives temperature and exponent.

    `outputs` names a model's outputs, of the class names. `align` brings the targets of texts into the form that
    a model with these encoders learns; `counts` then gives the weighted examples of each output. `names` are the
    classes of a data set's label, `answer` is a prediction in the form of such a label, with its score.
    Models that are `pooled` give one answer a text; in `exclusive` ones a wrong label stands for a missed one.
    `floor` is the structure that is tried with every effort.
    """

    metric: str
    metrics: Callable[[np.ndarray, np.ndarray], dict[str, float]]
    outcome: Callable[[np.ndarray, np.ndarray, Manifest], Outcome]
    figures: tuple[str, ...]
    temperature: Callable[[np.ndarray, np.ndarray], float]
    thresholds: Callable[[np.ndarray, np.ndarray, float], list[float]] | None = None
    power: Callable[[np.ndarray, np.ndarray], tuple[float, float]] | None = None
    outputs: Callable[[list[str]], list[str]] = list
    align: Callable[[Sequence[str], np.ndarray, Sequence[Encoder], list[str]], np.ndarray] = (
        lambda texts, targets, encoders, classes: targets
    )
    # Probabilities, [rows, outputs], are a student's targets whatever the kind.
    counts: Callable[[np.ndarray, np.ndarray, int], np.ndarray] = lambda targets, weights, outputs: (
        weights @ targets if targets.ndim > 1 else np.bincount(targets, weights, outputs)
    )
    names: Callable[[Any], list[str]] = lambda label: [label]
    answer: Callable[[Prediction], tuple[Any, float]] = lambda one: (one.label, one.score or 0.0)
    pooled: bool = True
    exclusive: bool = True
    floor: str = "linear"


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


def _tagging(logits: np.ndarray, codes: np.ndarray) -> dict[str, float]:
    found = tagging.judge(logits, codes)
    rows, classes = len(logits), logits.shape[-1] // 2
    hits, predicted, actual = (
        tagging.by_row_and_class(*which, rows, classes)
        for which in ((found.predicted, found.hit), (found.predicted, slice(None)), (found.actual, slice(None)))
    )
    counts = Counts(*(each.sum(axis=0) for each in (hits, predicted, actual)))
    exact = (hits == predicted).all(axis=1) & (hits == actual).all(axis=1)
    return {
        "accuracy": float(exact.mean()),
        "span_f1": float(micro_f1(counts)),
        "macro_f1": float(macro_f1(counts)),
    }


KINDS: dict[str, Kind] = {
    "single": Kind(
        "accuracy",
        _single,
        outcome.single,
        ("macro_f1", "weighted_f1", "macro_precision", "macro_recall", "matthews"),
        scaling.softmax_temperature,
        power=scaling.softmax_power,
    ),
    "multi": Kind(
        "micro_f1",
        _multi,
        outcome.multi,
        ("micro_f1", "macro_f1", "weighted_f1"),
        scaling.sigmoid_temperature,
        scaling.f1_thresholds,
        counts=lambda targets, weights, outputs: weights @ targets,
        names=list,
        answer=lambda one: (sorted(label.label for label in one.labels), one.score or 0.0),
        exclusive=False,
    ),
    "tagging": Kind(
        "span_f1",
        _tagging,
        outcome.tagging,
        ("span_f1", "macro_f1", "weighted_f1", "macro_precision", "macro_recall"),
        tagging.temperature,
        outputs=tag_names,
        align=tagging.align,
        counts=tagging.tag_counts,
        names=lambda label: [span["label"] for span in label],
        answer=tagging.answer,
        pooled=False,
        exclusive=False,
        floor="lstm",
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


def outcome_of(logits: np.ndarray, targets: np.ndarray, manifest: Manifest) -> Outcome:
    """What a model with this manifest makes of its logits."""
    return KINDS[manifest.task].outcome(DECODERS[manifest.task].scores(logits, manifest), targets, manifest)
