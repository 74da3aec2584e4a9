"""Whether a text is like the training data at all.

The score is the share of a text's character n-grams that no training text holds: a compact hashed
set of n-grams (a Bloom filter with one hash) stands in the manifest. Texts with a score above a
threshold are out of scope; the threshold is the quantile of the validation texts' scores that
raises a stated share of false alarms.
"""

import base64
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bentos.text_classifier.manifest import Scope
from bentos.text_classifier.text import fold

if TYPE_CHECKING:
    from bentos.text_classifier.model import TextModel

METHOD = "n-gram novelty"
_SIZE = 4
_BITS = 17


def fit_scope(
    model: "TextModel", train_texts: Sequence[str], validation_texts: Sequence[str], false_alarm_rate: float = 0.05
) -> Scope:
    """The scope rule of `model`: what it saw, and a threshold for the stated rate of false alarms.

    `validation_texts` must be none of `train_texts`.
    """
    seen = np.zeros(1 << _BITS, bool)
    for text in train_texts:
        seen[_hashes(text)] = True
    parameters = {"seen": base64.b85encode(zlib.compress(np.packbits(seen).tobytes(), 9)).decode()}
    scope = Scope(METHOD, 0.0, false_alarm_rate, parameters)
    scores = ScopeRule(scope).scores(model.logits(validation_texts), validation_texts)
    threshold = float(np.quantile(scores, 1.0 - false_alarm_rate, method="higher"))
    return Scope(METHOD, threshold, false_alarm_rate, parameters)


class ScopeRule:
    """A scope rule ready for use."""

    def __init__(self, scope: Scope) -> None:
        packed = zlib.decompress(base64.b85decode(scope.parameters["seen"]))
        self._seen = np.unpackbits(np.frombuffer(packed, np.uint8)).astype(bool)
        self.threshold = scope.threshold

    def scores(self, logits: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """How unlike the training data each text is, float64 [texts]; above the threshold is out of scope."""
        return np.array([1.0 - self._seen[_hashes(text)].mean() for text in texts])

    def holds(self, logits: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """Whether each text is like the training data, bool [texts]."""
        return self.scores(logits, texts) <= self.threshold


def in_scope(scope: Scope, logits: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Whether each text is like the training data, bool [texts]."""
    return ScopeRule(scope).holds(logits, texts)


def _hashes(text: str) -> np.ndarray:
    """Hashed character n-grams of the folded text, with a space at both ends; int64, at least one."""
    codes = np.frombuffer(f"  {fold(text)}  ".encode("utf-32-le"), np.uint32)
    mixed = np.zeros(len(codes) - _SIZE + 1, np.uint32)
    for offset in range(_SIZE):
        mixed = (mixed ^ codes[offset : offset + len(mixed)]) * np.uint32(0x9E3779B1)
        mixed ^= mixed >> np.uint32(15)
    return (mixed >> np.uint32(32 - _BITS)).astype(np.int64)
