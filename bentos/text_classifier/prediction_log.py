"""What is kept of a prediction, so that drift can be seen without its text.

A record holds statistics of the text that say little about it alone and much about many: length, script,
how rare its n-grams were in the training texts, a lossy sketch of its n-grams. The text itself is kept
only where a setting asks for it; else a keyed hash tells equal texts from different ones, and the key never
leaves the folder of the records.
"""

import base64
import hashlib
import secrets
import time
import unicodedata
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from bentos.serving.records.personal_data import Redactor
from bentos.serving.records.pseudonyms import records_key
from bentos.serving.records.records import RecordWriter
from bentos.text_classifier.decoding import Options, Prediction, whole_answer
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.scope import ScopeRule, hashed_grams
from bentos.text_classifier.settings import Settings
from bentos.text_classifier.text import fold

KIND = "predictions"
SKETCH = 1024
"""Numbers in the sketch of word pairs, and as many in that of character runs."""

_LETTERS = 32
_CHARACTERS = 1000
_DESCRIBED = 64
_STEPS = 127


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """A text as drift detection sees it; `rarity` and `unknown` where the model has a scope rule.

    `capitals`, `digits` and `marks` (neither letter, digit nor space) are shares of the characters; `ending` is the
    last character where it is a mark, "a" for a letter and "0" for a digit.
    `sketch` is base 64 of zlib of int8 [2 x SKETCH]: a signed count sketch (Charikar et al. 2002) of the text's word
    pairs and one of its character runs, each scaled to Euclidean length 127.
    """

    characters: int
    words: int
    script: str
    capitals: float
    digits: float
    marks: float
    ending: str
    rarity: float | None
    unknown: float | None
    sketch: str


class PredictionRecord(Observation, frozen=True, kw_only=True):
    """`hash` and `client` are keyed hashes of the folded text and of the caller.

    `labels` are of multi-label models alone: the whole answer, None where the request asked for a part of it.
    """

    time: float
    id: str
    version: str
    label: str | None
    score: float | None
    in_scope: bool | None
    hash: str
    client: str
    text: str | None = None
    labels: list[str] | msgspec.UnsetType | None = msgspec.UNSET


def observe(texts: Sequence[str], rule: ScopeRule | None) -> list[Observation]:
    """What is seen of each text, in order."""
    if not texts:
        return []
    # Of a short text nearly all is zero.
    sketches = [base64.b64encode(zlib.compress(row.tobytes(), 1)).decode() for row in _sketches(texts)]
    novelty = rule.novelty(texts).tolist() if rule else [(None, None)] * len(texts)
    return [
        Observation(
            characters=len(text),
            words=len(text.split()),
            script=script(text),
            **_form(text),
            rarity=None if rarity is None else round(rarity, 4),
            unknown=None if unknown is None else round(unknown, 4),
            sketch=sketch,
        )
        for text, sketch, (rarity, unknown) in zip(texts, sketches, novelty, strict=True)
    ]


def unpacked(sketches: Sequence[str]) -> np.ndarray:
    """The sketches as float32 [texts, 2 x SKETCH], each half of Euclidean length about one."""
    plain = b"".join(zlib.decompress(base64.b64decode(sketch)) for sketch in sketches)
    return np.frombuffer(plain, np.int8).reshape(len(sketches), 2 * SKETCH).astype(np.float32) / _STEPS


def script(text: str) -> str:
    """The most frequent script among the first letters, as their Unicode names begin: LATIN, CJK, CYRILLIC."""
    letters = islice((character for character in text if character.isalpha()), _LETTERS)
    found = Counter(unicodedata.name(letter, "UNKNOWN").split(" ", 1)[0] for letter in letters)
    return found.most_common(1)[0][0] if found else "NONE"


def _form(text: str) -> dict[str, Any]:
    text = text[:_CHARACTERS]
    size = max(len(text), 1)
    capitals = sum(map(str.isupper, text))
    digits = sum(map(str.isdigit, text))
    others = size - sum(map(str.isalpha, text)) - digits - sum(map(str.isspace, text))
    last = text.rstrip()[-1:]
    return {
        "capitals": round(capitals / size, 4),
        "digits": round(digits / size, 4),
        "marks": round(max(others, 0) / size, 4),
        "ending": "a" if last.isalpha() else "0" if last.isdigit() else last,
    }


def _sketches(texts: Sequence[str]) -> np.ndarray:
    halves = []
    for hashes, starts, sizes in hashed_grams(texts):
        owners = np.repeat(np.arange(len(texts)), sizes)
        own = np.arange(len(owners)) + np.repeat(starts - (sizes.cumsum() - sizes), sizes)
        # Mixed anew: the scope rule's table is indexed by the leading bits of the same hashes.
        mixed = hashes[own] * np.uint32(0x85EBCA6B)
        mixed ^= mixed >> np.uint32(13)
        mixed *= np.uint32(0xC2B2AE35)
        places = owners * SKETCH + (mixed >> np.uint32(16)).astype(np.int64) % SKETCH
        signs = np.where(mixed & np.uint32(1), 1.0, -1.0)
        half = np.bincount(places, signs, len(texts) * SKETCH).reshape(len(texts), SKETCH)
        halves.append(half / np.maximum(np.linalg.norm(half, axis=1, keepdims=True), 1e-9))
    return np.rint(np.concatenate(halves, axis=1) * _STEPS).astype(np.int8)


class PredictionLog:
    """Records predictions off the request path; for one event loop.

    Of a burst the first `prediction_burst` predictions are recorded, after that `prediction_rate` a second: what
    is recorded must be enough to judge by, and what is beyond costs requests their time.
    """

    def __init__(self, folder: Path, model: TextModel, version: str, settings: Settings) -> None:
        self._writer = RecordWriter(folder, KIND, int(settings.max_records_mb * 1e6), keep_all=False)
        self._rule = ScopeRule(model.manifest.scope) if model.manifest.scope else None
        self._version = version
        self._settings = settings
        self._key = records_key(folder)
        self._redact = Redactor(settings.personal_data or "keep", self._key)
        self._share = Thinning(settings.prediction_share)
        self._labels = len(model.manifest.labels) if model.decoder.answer == "labels" else None
        self._waiting: list[_Taken] = []
        self._room = float(settings.prediction_burst)
        self._filled = time.monotonic()

    @property
    def dropped(self) -> int:
        """Records that were taken and could not be written."""
        return self._writer.dropped

    def add(self, texts: Sequence[str], predictions: Sequence[Prediction], client: str, options: Options) -> None:
        """Records the predictions, made with `options`, as far as settings and room allow; never waits."""
        moment = time.monotonic()
        settings = self._settings
        self._room = min(settings.prediction_burst, self._room + (moment - self._filled) * settings.prediction_rate)
        self._filled = moment
        for text, prediction in zip(texts, predictions, strict=True):
            if self._room < 1:
                return
            if not self._share.takes():
                continue
            self._room -= 1
            self._waiting.append(_Taken(time.time(), text, prediction, client, options))
            if len(self._waiting) == 1:
                self._writer.add(self._describe)

    def close(self) -> None:
        """Writes what waits."""
        self._writer.close()

    def _describe(self) -> Sequence[PredictionRecord]:
        """The waiting predictions as records; called in the writing thread, for many at a time."""
        waiting, self._waiting = self._waiting, []
        records = []
        for start in range(0, len(waiting), _DESCRIBED):
            some = waiting[start : start + _DESCRIBED]
            seen = observe([taken.text for taken in some], self._rule)
            records += [self._record(taken, observation) for taken, observation in zip(some, seen, strict=True)]
        return records

    def _record(self, taken: "_Taken", seen: Observation) -> PredictionRecord:
        prediction, count = taken.prediction, self._labels
        return PredictionRecord(
            **msgspec.structs.asdict(seen),
            time=taken.time,
            id=prediction.id,
            version=self._version,
            label=named_label(prediction),
            labels=msgspec.UNSET if count is None else whole_answer(prediction, taken.options, count),
            score=prediction.score,
            in_scope=prediction.in_scope,
            hash=self._hash(fold(taken.text)),
            client=self._hash(taken.client),
            text=self._redact(taken.text) if self._settings.store_texts else None,
        )

    def _hash(self, value: str) -> str:
        return hashlib.blake2b(value.encode("utf-8", "replace"), key=self._key, digest_size=12).hexdigest()


class _Taken(NamedTuple):
    """A prediction that waits to be described."""

    time: float
    text: str
    prediction: Prediction
    client: str
    options: Options


def named_label(prediction: Prediction) -> str | None:
    """The prediction's one label; of a tagging model the most frequent label of its spans."""
    if prediction.label is not None or not prediction.spans:
        return prediction.label
    return Counter(span.label for span in prediction.spans).most_common(1)[0][0]


class Thinning:
    """Takes the given share of what comes, evenly."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._owed = secrets.randbelow(1000) / 1000

    def takes(self) -> bool:
        self._owed += self._share
        if self._owed < 1:
            return False
        self._owed -= 1
        return True
