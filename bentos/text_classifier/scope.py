"""Whether a text is worded like the training texts; of one that is not the answer may still be right.

Three signs are added up: the text's pairs of neighbouring words are rare in the training texts, its
runs of four characters are, and the model's energy (minus the log-sum-exp of the logits, Liu et al.
2020) is high. The first two know another subject or language, whatever the model makes of it; the
third knows texts that use familiar words for something new. Rarity is the mean of minus the logarithm of
each n-gram's document frequency; every sign is scaled to mean 0 and deviation 1 on the validation
texts, and the two rarities count as much as the energy.

A text whose sum is above a threshold is out of scope. The threshold is that of split conformal
prediction (Vovk et al. 2005): at most the stated share of texts like the validation texts is above.

Document frequencies stand in the manifest as one hashed table of 4-bit powers of two.
"""

import base64
import zlib
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from bentos.text_classifier.manifest import Scope
from bentos.text_classifier.text import fold, words

METHOD = "rarity and energy"

LEVELS = 16
_WEIGHTS = np.array([0.5, 0.5, 1.0])
# What a text is about shows in its beginning; this bounds the work for a very long one.
_CHARACTERS = 4096
_FIRST, _LAST = 1, 2
_MIX = np.uint32(0x9E3779B1)


class Parameters(msgspec.Struct, frozen=True):
    """`levels`: the table, zlib and base 85; `mean` and `deviation` of the three signs on the validation texts."""

    documents: int
    levels: str
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)


class ScopeRule:
    """A scope rule ready for use; raises `ValueError` for parameters that are not such a rule's."""

    def __init__(self, scope: Scope) -> None:
        if scope.method != METHOD:
            raise ValueError(f"unknown scope method {scope.method!r}")
        parameters = msgspec.convert(scope.parameters, Parameters)
        self._table = _unpack(parameters.levels)
        self._shift = np.uint32(33 - len(self._table).bit_length())
        self._factors = _WEIGHTS / np.array(parameters.deviation)
        self._offset = float(self._factors @ np.array(parameters.mean))
        # A level stands for its documents' geometric mean, level 0 for half a document.
        counts = np.concatenate([[0.5], 2.0 ** (np.arange(LEVELS - 1) + 0.5) * (1 / 2**0.5)])
        self._rarity = np.log(max(parameters.documents, 1) / counts)
        self.threshold = scope.threshold

    def signs(self, logits: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """Rarity of word pairs, rarity of character runs, energy: float64 [texts, 3].

        Only logits of whole texts, [texts, labels], have an energy; it is 0 for those of positions.
        """
        rarities = [self._mean_rarity(*grams) for grams in hashed_grams(texts)]
        energy = np.zeros(len(texts))
        if logits.ndim == 2:
            top = logits.max(axis=1).astype(np.float64)
            energy = -top - np.log(np.exp(logits - top[:, None]).sum(axis=1))
        return np.stack([*rarities, energy], axis=1)

    def novelty(self, texts: Sequence[str]) -> np.ndarray:
        """What a text shows without the model: mean rarity of its n-grams, and the share of them that no training
        text held (up to chance equality of hashes). float64 [texts, 2]; word pairs and character runs count alike."""
        found = np.zeros((len(texts), 2))
        for hashes, starts, sizes in hashed_grams(texts):
            levels = self._table[hashes >> self._shift]
            found[:, 0] += _means(self._rarity[levels], starts, sizes) / 2
            found[:, 1] += _means(levels == 0, starts, sizes) / 2
        return found

    def _mean_rarity(self, hashes: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        return _means(self._rarity[self._table[hashes >> self._shift]], starts, sizes)

    def scores(self, logits: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """How unlike the training data each text is, float64 [texts]; above `threshold` is out of scope."""
        return self.weigh(self.signs(logits, texts))

    def weigh(self, signs: np.ndarray) -> np.ndarray:
        """The score that `signs` add up to, float64 [texts]."""
        return signs @ self._factors - self._offset

    def holds(self, logits: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        """Whether each text is like the training data, bool [texts]."""
        return self.scores(logits, texts) <= self.threshold


def in_scope(scope: Scope, logits: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Whether each text is like the training data, bool [texts]."""
    return ScopeRule(scope).holds(logits, texts)


def _means(values: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The mean of each text's values, float64 [texts]."""
    spans = np.stack([starts, starts + sizes], axis=1).ravel()
    return np.add.reduceat(np.append(values, 0.0), spans)[::2] / sizes


def hashed_grams(texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Of all pairs of words, then of all runs of characters: hashes, uint32, and where each text's start, and how many.

    Every text has at least one of each, since its ends count as words and as spaces.
    """
    folded = [fold(text[:_CHARACTERS]) for text in texts]
    ends: list[int] = []
    sizes: list[int] = []
    for text in folded:
        found = [zlib.crc32(word.encode()) for word in words(text)]
        ends += [_FIRST, *found, _LAST]
        sizes.append(len(found) + 2)
    yield _joined(np.array(ends, np.uint32), 1), *_places(sizes, 1)
    codes = np.frombuffer("".join([f"  {text}  " for text in folded]).encode("utf-32-le"), np.uint32)
    yield _joined(_joined(codes, 1), 2), *_places([len(text) + 4 for text in folded], 3)


def _joined(hashes: np.ndarray, distance: int) -> np.ndarray:
    """One hash for every two that stand `distance` apart."""
    mixed = (hashes[:-distance] * _MIX) ^ hashes[distance:]
    mixed *= _MIX
    return mixed ^ (mixed >> np.uint32(15))


def _places(sizes: list[int], lost: int) -> tuple[np.ndarray, np.ndarray]:
    """Start and number of each text's n-grams in a row over all texts; the `lost` last of each reach into the next."""
    lengths = np.array(sizes)
    return lengths.cumsum() - lengths, lengths - lost


def _unpack(packed: str) -> np.ndarray:
    halves = np.frombuffer(zlib.decompress(base64.b85decode(packed)), np.uint8)
    return np.stack([halves >> 4, halves & 15], axis=1).ravel()
