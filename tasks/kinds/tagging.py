"""Tagged parts of a text. Training learns them as codes of a tokeniser's positions.

A position's code is its tag's place in `tag_names`. `UNTAGGED` stands where there is no token. Where a span
begins or ends inside a token, no tags can give it: the codes of its tokens are higher by the number of tags,
so that the model still learns them but the span counts as missed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array

from bentos.text_classifier.decoding import Prediction
from bentos.text_classifier.encoding import Encoder, token_encoder
from bentos.text_classifier.manifest import Manifest
from bentos.text_classifier.tagging import Entities, entities, tag_names
from tasks.kinds.figures import Counts, Outcome, macro_f1, micro_f1
from tasks.kinds.kind import LEAST, RAREST, Kind, Labels
from tasks.kinds.scaling import softmax_temperature

UNTAGGED = -1

_SPANS = 'STRUCT("start" INTEGER, "end" INTEGER, "label" VARCHAR)[]'
_CLASSES = "list_sort(list_distinct(list_transform(label, lambda span: span.label)))"
_KNOWN = "list_filter(label, lambda span: list_contains(getvariable('labels'), span.label))"


class Judged(NamedTuple):
    """The answered and the true entities; `hit`, bool, says which of the answered are true."""

    predicted: Entities
    actual: Entities
    hit: np.ndarray


def align(texts: Sequence[str], spans: np.ndarray, encoders: Sequence[Encoder], classes: Sequence[str]) -> np.ndarray:
    """Codes of every position, int32 [texts, most tokens of a text].

    `spans`: a list of {start, end, label} in code points of the cleaned text for each text.
    """
    encoder = token_encoder(encoders)
    places = {name: place for place, name in enumerate(classes)}
    tags = len(tag_names(classes))
    codes = np.full((len(texts), encoder.settings.max_length), UNTAGGED, np.int32)
    for row, found, offsets in zip(codes, spans, encoder.offsets(texts), strict=True):
        starts, ends = np.array(offsets, np.int64).reshape(-1, 2).T
        row[: len(starts)] = np.where(starts < ends, 0, UNTAGGED)
        for span in found:
            inside = np.flatnonzero((starts < span["end"]) & (ends > span["start"]))
            if not len(inside):
                continue
            exact = starts[inside[0]] == span["start"] and ends[inside[-1]] == span["end"]
            begin = 1 + 2 * places[span["label"]] + (0 if exact else tags)
            row[inside] = begin + 1
            row[inside[0]] = begin
    return codes


def known_tags(scores: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether there is a token, bool [rows, positions], and its tag where there is one, for the scores' positions."""
    codes = codes[:, : scores.shape[1]]
    return codes != UNTAGGED, np.where(codes == UNTAGGED, 0, codes % scores.shape[-1])


def judge(scores: np.ndarray, codes: np.ndarray) -> Judged:
    """What scores [rows, positions, tags] answer, beside the codes."""
    known, truth = known_tags(scores, codes)
    predicted, actual = entities(np.where(known, scores.argmax(axis=-1), 0)), entities(truth)
    reachable = codes[actual.row, actual.first] < scores.shape[-1]
    hit = np.isin(_keys(predicted, scores), _keys(actual, scores)[reachable])
    return Judged(predicted, actual, hit)


def by_row_and_class(found: Entities, chosen: np.ndarray | slice, rows: int, classes: int) -> np.ndarray:
    """How many of the chosen entities each row has of each class: float64 [rows, classes]."""
    places = found.row[chosen] * classes + found.label[chosen]
    return np.bincount(places, minlength=rows * classes).reshape(rows, classes).astype(np.float64)


def _keys(found: Entities, scores: np.ndarray) -> np.ndarray:
    _, positions, tags = scores.shape
    return ((found.row * positions + found.first) * positions + found.last) * tags + found.label


def tag_counts(codes: np.ndarray, weights: np.ndarray, tags: int) -> np.ndarray:
    """Weighted tokens of each tag: float64 [tags]."""
    known = codes != UNTAGGED
    return np.bincount(codes[known] % tags, np.broadcast_to(weights[:, None], codes.shape)[known], tags)


def temperature(logits: np.ndarray, codes: np.ndarray) -> float:
    """The temperature with the highest likelihood of the tokens' tags."""
    known, truth = known_tags(logits, codes)
    return softmax_temperature(logits[known], truth[known])


def answer(prediction: Prediction) -> tuple[list[dict[str, Any]], float]:
    """The spans in a data set's form, and the least of their scores; 1 without any."""
    spans = prediction.spans or []
    label = [{"start": span.start, "end": span.end, "label": span.label} for span in spans]
    return label, min((span.score for span in spans), default=1.0)


def metrics(logits: np.ndarray, codes: np.ndarray) -> dict[str, float]:
    hits, predicted, actual = _judged_counts(judge(logits, codes), logits)
    counts = Counts(*(each.sum(axis=0) for each in (hits, predicted, actual)))
    return {
        "accuracy": float(_exact(hits, predicted, actual).mean()),
        "span_f1": float(micro_f1(counts)),
        "macro_f1": float(macro_f1(counts)),
    }


def outcome(probabilities: np.ndarray, codes: np.ndarray, manifest: Manifest) -> Outcome:
    """An entity is right when class, beginning and end are; the score of every answered one counts for calibration.

    The loss is the mean over the text's tokens.

    `probabilities`: float32 [rows, positions, tags]; `codes`: int [rows, positions or more] of `align`.
    """
    found = judge(probabilities, codes)
    hits, predicted, actual = _judged_counts(found, probabilities)
    certainty = probabilities.max(axis=-1)
    row, first, last, _ = found.predicted
    places = zip(row.tolist(), first.tolist(), last.tolist(), strict=True)
    known, truth = known_tags(probabilities, codes)
    given = np.take_along_axis(probabilities, truth[..., None], axis=-1)[..., 0].astype(np.float64)
    surprise = np.where(known, -np.log(np.maximum(given, LEAST)), 0.0)
    return Outcome(
        hits=csr_array(hits.astype(np.float32)),
        predicted=csr_array(predicted.astype(np.float32)),
        actual=csr_array(actual.astype(np.float32)),
        exact=_exact(hits, predicted, actual),
        confidence=np.array([certainty[text, start : end + 1].min() for text, start, end in places], np.float32),
        correct=found.hit,
        row=row,
        loss=surprise.sum(axis=1) / np.maximum(known.sum(axis=1), 1),
    )


def _judged_counts(found: Judged, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hits, answers and truths of each row and class: float64 [rows, classes]."""
    rows, classes = len(scores), scores.shape[-1] // 2
    return (
        by_row_and_class(found.predicted, found.hit, rows, classes),
        by_row_and_class(found.predicted, slice(None), rows, classes),
        by_row_and_class(found.actual, slice(None), rows, classes),
    )


def _exact(hits: np.ndarray, predicted: np.ndarray, actual: np.ndarray) -> np.ndarray:
    return (hits == predicted).all(axis=1) & (hits == actual).all(axis=1)


KIND = Kind(
    labels=Labels(
        typed=f"CAST(CAST(label AS JSON) AS {_SPANS})",
        misfit="CASE WHEN form IS NULL AND label IS NOT NULL OR form = 'list' AND label <> '[]' "
        "THEN 'the label is no list of spans {start, end, label}' END",
        missing="label IS NULL",
        classes=_CLASSES,
        canonical="CAST(to_json(label) AS VARCHAR)",
        stratum=RAREST.format(classes=_CLASSES),
        target=_KNOWN,
        known="true",
        kept=_KNOWN,
        found_by="spans",
        placed=True,
        least_classes=1,
    ),
    loss="token_softmax",
    compared_by=("span_f1", "accuracy", "macro_f1"),
    metrics=metrics,
    outcome=outcome,
    figures=("span_f1", "macro_f1", "weighted_f1", "macro_precision", "macro_recall"),
    temperature=temperature,
    outputs=tag_names,
    align=align,
    counts=tag_counts,
    names=lambda label: [span["label"] for span in label],
    answer=answer,
    pooled=False,
    exclusive=False,
    floor="lstm",
    intended="spans, each with one of {labels} labels. It knows these labels only: a text about anything else may get "
    "some too",
)
