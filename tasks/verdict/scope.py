"""Stage: the scope rule of a served model, fitted on what it was trained and validated on."""

import base64
import zlib
from collections.abc import Sequence
from math import ceil
from typing import Any

import msgspec
import numpy as np

from bentos.text_classifier.manifest import Scope
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.scope import LEVELS, METHOD, Parameters, ScopeRule, hashed_grams

_BATCH = 64
_BITS = (10, 17)
_MOST_PARTS = 8
_TIMES = 5


Parts = tuple[Sequence[Any], Sequence[Any]]


def fit_scope(
    model: TextModel,
    train_texts: Sequence[str],
    validation_texts: Sequence[str],
    false_alarm_rate: float = 0.05,
    parts: Parts | None = None,
) -> Scope:
    """The scope rule of `model`: what it saw, and a threshold for the stated rate of false alarms.

    `validation_texts` must be like the training texts and none of them; for a stated rate r it takes
    1 / r of them, with fewer the threshold is the largest score.

    Args:
        parts: the origin or time of every training and every validation text. Each validation text is then judged as
            if no text of its origin or time had been trained on: tomorrow's texts, and another author's, are worded
            otherwise than a random share of the same ones.
    """
    parameters = Parameters(len(train_texts), _pack(_levels(train_texts)))
    rule = _rule(parameters)
    texts = sorted(validation_texts, key=len)
    batches = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
    signs = np.concatenate([rule.signs(model.run(model.encode(batch)), batch) for batch in batches])
    deviation = signs.std(axis=0)
    deviation[deviation == 0] = 1.0
    parameters = msgspec.structs.replace(
        parameters, mean=tuple(signs.mean(axis=0).tolist()), deviation=tuple(deviation.tolist())
    )
    if parts is not None:
        of_texts = dict(zip(validation_texts, parts[1], strict=True))
        signs = _as_strangers(signs, texts, train_texts, (parts[0], [of_texts[text] for text in texts]))
    scores = np.sort(_rule(parameters).weigh(signs))
    rank = min(ceil((len(scores) + 1) * (1.0 - false_alarm_rate)), len(scores))
    return Scope(METHOD, float(scores[rank - 1]), false_alarm_rate, _plain(parameters))


def _as_strangers(signs: np.ndarray, texts: Sequence[str], train_texts: Sequence[str], parts: Parts) -> np.ndarray:
    """`signs` with each text's rarities among the training texts of all parts but its own."""
    place = _placed([*parts[0], *parts[1]])
    train_places, places = place[: len(train_texts)], place[len(train_texts) :]
    found = signs.copy()
    for part in np.unique(places):
        others = [text for text, its in zip(train_texts, train_places, strict=True) if its != part]
        own = np.flatnonzero(places == part).tolist()
        if not others:
            continue
        rule = _rule(Parameters(len(others), _pack(_levels(others))))
        for start in range(0, len(own), _BATCH):
            rows = own[start : start + _BATCH]
            # Of positions no energy is made: the model's own stays.
            rarities = rule.signs(np.zeros((len(rows), 1, 1), np.float32), [texts[row] for row in rows])
            found[rows, :2] = rarities[:, :2]
    return found


def _placed(values: Sequence[Any]) -> np.ndarray:
    """The part of each value: of few different ones each its own, of many (times) a fifth of the rows, in order."""
    _, ranks, counts = np.unique([str(value) for value in values], return_inverse=True, return_counts=True)
    if len(counts) <= _MOST_PARTS:
        return ranks
    before = counts.cumsum() - counts
    return before[ranks] * _TIMES // len(values)


def _levels(texts: Sequence[str]) -> np.ndarray:
    """Document frequencies of hashed n-grams, uint8: 0 for none, else 1 + floor(log2), a power of two long."""
    bits = _BITS[1]
    counts = np.zeros(1 << bits, np.int64)
    for start in range(0, len(texts), _BATCH):
        for hashes, starts, sizes in hashed_grams(texts[start : start + _BATCH]):
            owners = np.repeat(np.arange(len(sizes)), sizes)
            own = np.arange(len(owners)) + np.repeat(starts - (sizes.cumsum() - sizes), sizes)
            places = (hashes[own] >> np.uint32(32 - bits)).astype(np.int64)
            # A document counts once, however often it holds an n-gram.
            counts += np.bincount(np.unique(owners << bits | places) & ((1 << bits) - 1), minlength=1 << bits)
    # Few texts need no large table: it is folded as long as it stays nearly empty.
    while len(counts) > 1 << _BITS[0] and np.count_nonzero(counts) * 8 < len(counts):
        counts = counts.reshape(-1, 2).sum(axis=1)
    return np.minimum(np.ceil(np.log2(counts + 1)), LEVELS - 1).astype(np.uint8)


def _rule(parameters: Parameters) -> ScopeRule:
    return ScopeRule(Scope(METHOD, 0.0, 0.0, _plain(parameters)))


def _plain(parameters: Parameters) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(parameters))


def _pack(levels: np.ndarray) -> str:
    return base64.b85encode(zlib.compress((levels[::2] << 4 | levels[1::2]).tobytes(), 9)).decode()
