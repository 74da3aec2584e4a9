"""From logits to answers: decode, filter, sort. One decoder a kind of task."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

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


Answer = Literal["label", "labels", "spans"]
"""The fields of a prediction that can hold the whole answer of a kind of task."""


class Decoder(NamedTuple):
    """What a service does with models of one kind of task.

    `classes` are the names in its answers, of the manifest's labels. `answer` is the field that holds the whole of
    an answer: pages show it, batch output and records keep it. `about_texts` are answers about texts as wholes,
    which can be explained word by word and put right by feedback.
    """

    scores: Callable[[np.ndarray, Manifest], np.ndarray]
    decode: Callable[["TextModel", np.ndarray, Options, Sequence[str]], list[Prediction]]
    classes: Callable[[Sequence[str]], list[str]] = list
    answer: Answer = "label"
    about_texts: bool = True

    def top_k(self, manifest: Manifest) -> int:
        """How many labels an answer holds at most when a request does not say."""
        return 1 if self.answer == "label" else len(manifest.labels)


def whole_answer(prediction: Prediction, options: Options, count: int) -> list[str] | None:
    """The labels of a multi-label answer, of a model with `count` of them; None where the options may lack some."""
    cut = len(prediction.labels) == options.top_k < count
    if cut or options.threshold > 0 or options.only is not None:
        return None
    return [one.label for one in prediction.labels]


def rounded(prediction: Prediction, decimals: int, least: float) -> Prediction:
    """A copy with scores of so many decimals, and of its labels and spans those that then reach `least`."""
    score = prediction.score
    labels = [LabelScore(one.label, round(one.score, decimals)) for one in prediction.labels]
    copy = msgspec.structs.replace(
        prediction,
        score=None if score is None else round(score, decimals),
        labels=[one for one in labels if one.score >= least],
    )
    if prediction.spans:
        spans = [msgspec.structs.replace(one, score=round(one.score, decimals)) for one in prediction.spans]
        copy.spans = [one for one in spans if one.score >= least]
    return copy


def softmax(logits: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Probabilities over the last axis after exponent and temperature, float32."""
    scaled = logits - logits.max(axis=-1, keepdims=True)
    if manifest.exponent != 1.0:
        scaled = -np.expm1(manifest.exponent * np.log1p(-scaled)) / manifest.exponent
    scaled /= manifest.temperature
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=-1, keepdims=True)
    return scaled


def sigmoid(logits: np.ndarray, manifest: Manifest) -> np.ndarray:
    """Independent probabilities after the temperature, float32."""
    return 1.0 / (1.0 + np.exp(-np.clip(logits / manifest.temperature, -60.0, 60.0)))


def _ranked(scores: np.ndarray, labels: list[str], options: Options) -> list[list[LabelScore]]:
    """For each row of scores [texts, labels] what the options ask for, best first."""
    if options.only is not None:
        kept = [index for index, label in enumerate(labels) if label in options.only]
        scores, labels = scores[:, kept], [labels[index] for index in kept]
    least = options.threshold
    if options.top_k == 1 and labels:
        # The usual request wants the best label alone, for which no order is needed.
        return [[LabelScore(labels[at], score)] if score >= least else [] for at, score in _best(scores)]
    order = np.argsort(-scores, axis=1, kind="stable")[:, : options.top_k]
    rows = zip(order.tolist(), np.take_along_axis(scores, order, axis=1).tolist(), strict=True)
    return [[LabelScore(labels[at], score) for at, score in zip(*row, strict=True) if score >= least] for row in rows]


def _answers(scores: np.ndarray, candidates: np.ndarray, labels: list[str], options: Options) -> list[Prediction]:
    """A prediction a row: the best of `scores`, and of `candidates` what the options ask for."""
    rows = zip(_best(scores), _ranked(candidates, labels, options), strict=True)
    return [Prediction(labels[at], score, ranked) for (at, score), ranked in rows]


def _best(scores: np.ndarray) -> Iterator[tuple[int, float]]:
    """The place of each row's best score, and the score."""
    return zip(scores.argmax(axis=1).tolist(), scores.max(axis=1).tolist(), strict=True)


def _single(model: "TextModel", logits: np.ndarray, options: Options, texts: Sequence[str]) -> list[Prediction]:
    scores = softmax(logits, model.manifest)
    return _answers(scores, scores, model.manifest.labels, options)


def _multi(model: "TextModel", logits: np.ndarray, options: Options, texts: Sequence[str]) -> list[Prediction]:
    manifest = model.manifest
    scores = sigmoid(logits, manifest)
    thresholds = np.asarray(manifest.thresholds or [0.5] * len(manifest.labels), np.float32)
    # Labels under their own threshold are no part of a multi-label answer, however many were asked for.
    return _answers(scores, np.where(scores >= thresholds, scores, -1.0), manifest.labels, options)


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


DECODERS = {
    "single": Decoder(softmax, _single),
    "multi": Decoder(sigmoid, _multi, answer="labels"),
    "tagging": Decoder(softmax, _tagging, class_names, answer="spans", about_texts=False),
}
"""By the name of the kind, which a model's manifest gives."""


def decoder_of(manifest: Manifest) -> Decoder:
    """The decoder of a model's kind of task; raises ValueError where this version has none."""
    if manifest.task not in DECODERS:
        raise ValueError(f"its task is {manifest.task!r}; this version knows {', '.join(DECODERS)}")
    return DECODERS[manifest.task]
