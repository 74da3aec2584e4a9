"""From logits to answers: decode, filter, sort. One decoder a kind of task."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from bentos.text_classifier.encoding import token_encoder
from bentos.text_classifier.manifest import Manifest
from bentos.text_classifier.tagging import class_names, entities

if TYPE_CHECKING:
    from bentos.text_classifier.model import TextModel


class Options(msgspec.Struct, frozen=True):
    """What a request may ask of its answers.

    `top_k` labels at most, best first; `threshold` drops labels with a lower score from `labels`
    (never the prediction's own `label`); `only` keeps the named labels.
    """

    top_k: int = 1
    threshold: float = 0.0
    only: frozenset[str] | None = None


class LabelScore(msgspec.Struct, frozen=True):
    label: str
    score: float


class Span(msgspec.Struct, frozen=True):
    """A tagged part of the text; `start` and `end` in code points of the cleaned text."""

    start: int
    end: int
    label: str
    score: float


class Prediction(msgspec.Struct):
    """One text's answer. `id` is filled by the service, `in_scope` where the model has a scope rule.

    `spans` are of tagging models alone; unset, their JSON leaves the field out.
    """

    label: str | None = None
    score: float | None = None
    labels: list[LabelScore] = []
    spans: list[Span] | msgspec.UnsetType = msgspec.UNSET
    id: str = ""
    in_scope: bool | None = None


class Decoder(NamedTuple):
    """What a kind of task does with logits; `classes` are the names in its answers, of the manifest's labels."""

    scores: Callable[[np.ndarray, Manifest], np.ndarray]
    decode: Callable[["TextModel", np.ndarray, Options, Sequence[str]], list[Prediction]]
    classes: Callable[[Sequence[str]], list[str]] = list


def softmax(logits: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Probabilities over the last axis after the temperature, float32."""
    scaled = logits / manifest.temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=-1, keepdims=True)
    return scaled


def sigmoid(logits: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Independent probabilities after the temperature, float32."""
    return 1.0 / (1.0 + np.exp(-np.clip(logits / manifest.temperature, -60.0, 60.0)))


def _ranked(row: np.ndarray, labels: list[str], options: Options) -> list[LabelScore]:
    found = []
    # The usual request wants the best label alone, for which no order is needed.
    best_only = options.top_k == 1 and options.only is None
    for index in [int(row.argmax())] if best_only else np.argsort(-row, kind="stable").tolist():
        score = float(row[index])
        if score < options.threshold or len(found) == options.top_k:
            break
        if options.only is None or labels[index] in options.only:
            found.append(LabelScore(labels[index], score))
    return found


def _single(model: "TextModel", logits: np.ndarray, options: Options, texts: Sequence[str]) -> list[Prediction]:
    labels = model.manifest.labels
    answers = []
    for row in softmax(logits, model.manifest):
        best = int(row.argmax())
        answers.append(Prediction(labels[best], float(row[best]), _ranked(row, labels, options)))
    return answers


def _multi(model: "TextModel", logits: np.ndarray, options: Options, texts: Sequence[str]) -> list[Prediction]:
    manifest = model.manifest
    thresholds = np.asarray(manifest.thresholds or [0.5] * len(manifest.labels), np.float32)
    answers = []
    for row in sigmoid(logits, manifest):
        # Labels under their own threshold are no part of a multi-label answer, however many were asked for.
        kept = np.where(row >= thresholds, row, -1.0)
        best = int(row.argmax())
        answers.append(Prediction(manifest.labels[best], float(row[best]), _ranked(kept, manifest.labels, options)))
    return answers


def _tagging(model: "TextModel", logits: np.ndarray, options: Options, texts: Sequence[str]) -> list[Prediction]:
    """Spans in order; a span's score is that of its least certain position. `top_k` says nothing of spans."""
    scores = softmax(logits, model.manifest)
    places = np.zeros((*scores.shape[:2], 2), np.int64)
    for row, offsets in enumerate(token_encoder(model.encoders).offsets(texts)):
        places[row, : len(offsets)] = np.array(offsets, np.int64).reshape(-1, 2)
    # Marks and padding lie nowhere in the text.
    tags = np.where(places[..., 0] < places[..., 1], scores.argmax(axis=-1), 0)
    certainty = scores.max(axis=-1)
    classes = class_names(model.manifest.labels)
    spans: list[list[Span]] = [[] for _ in texts]
    for row, first, last, label in zip(*(part.tolist() for part in entities(tags)), strict=True):
        score = float(certainty[row, first : last + 1].min())
        if score >= options.threshold and (options.only is None or classes[label] in options.only):
            start, end = int(places[row, first, 0]), int(places[row, last, 1])
            spans[row].append(Span(start, end, classes[label], score))
    return [Prediction(spans=found) for found in spans]


DECODERS: dict[str, Any] = {
    "single": Decoder(softmax, _single),
    "multi": Decoder(sigmoid, _multi),
    "tagging": Decoder(softmax, _tagging, class_names),
}
