"""Tagging in training: spans as codes of a tokeniser's positions, and what a model's tags come to beside them.

A position's code is its tag's place in `tag_names`. `UNTAGGED` stands where there is no token. Where a span
begins or ends inside a token, no tags can give it: the codes of its tokens are higher by the number of tags,
so that the model still learns them but the span counts as missed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from bentos.text_classifier.decoding import Prediction
from bentos.text_classifier.encoding import Encoder, token_encoder
from bentos.text_classifier.tagging import Entities, entities, tag_names
from tasks.kinds.scaling import softmax_temperature

UNTAGGED = -1


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
