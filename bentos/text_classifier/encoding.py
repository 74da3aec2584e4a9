"""From texts to the named inputs of the ONNX graph."""

import io
import itertools
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer

from bentos.serving.model_folder import ReadFile
from bentos.text_classifier.manifest import GramSettings, HashedGramSettings, TokenSettings
from bentos.text_classifier.pieces import Pieces
from bentos.text_classifier.text import clean, fold, words

Inputs = dict[str, np.ndarray]

CHARACTERS = "\t"
"""Stands before a character n-gram in a vocabulary; no folded text holds it."""

# 1 + ln count by count. A table, because a vectorised logarithm may differ in the last bit with an
# element's place in its array; counts beyond it are taken as its last.
_SUBLINEAR = np.concatenate([[0.0], 1.0 + np.log(np.arange(1, 4097))])


class Encoder(Protocol):
    """Turns texts into the graph inputs that its settings name."""

    def encode(self, texts: Sequence[str]) -> Inputs: ...


class TokenEncoder:
    """Sub-word ids, int32 [texts, longest], padded on the right with the pad id."""

    def __init__(self, settings: TokenSettings, tokenizer: Tokenizer) -> None:
        self.settings = settings
        self.tokenizer = tokenizer
        # A tokenizer.json may carry padding and truncation of its own (MiniLM's cuts at 128): ours rule.
        tokenizer.no_padding()
        tokenizer.enable_truncation(settings.max_length)
        self._pieces = Pieces(tokenizer, settings.max_length)

    @classmethod
    def load(cls, settings: TokenSettings, read: ReadFile) -> "TokenEncoder":
        return cls(settings, Tokenizer.from_buffer(read(settings.file)))

    def dump(self) -> bytes:
        """The tokenizer file's bytes, read back by `load`."""
        return self.tokenizer.to_str().encode()

    def encode(self, texts: Sequence[str]) -> Inputs:
        prefix = self.settings.prefix
        rows = self._pieces.of([prefix + clean(text) for text in texts])
        lengths = np.array(list(map(len, rows)), np.int64)
        filled = _filled(lengths)
        ids = np.full(filled.shape, self.settings.pad_id, np.int32)
        ids[filled] = list(itertools.chain.from_iterable(rows))
        return {self.settings.name: ids}

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """For every token of every text its place in the `clean`ed text, in code points; (0, 0) for marks."""
        prefix = len(self.settings.prefix)
        encoded = self.tokenizer.encode_batch([self.settings.prefix + clean(text) for text in texts])
        return [[(max(a - prefix, 0), max(b - prefix, 0)) for a, b in one.offsets] for one in encoded]


def token_encoder(encoders: Sequence[Encoder]) -> TokenEncoder:
    """The one whose positions a tagging model tags."""
    return next(encoder for encoder in encoders if isinstance(encoder, TokenEncoder))


class GramEncoder:
    """Weighted n-gram ids of each text: int32 and float32 [texts, most n-grams], 0 at padding.

    `vocabulary` holds the n-grams by id - 1: words joined by a space, character n-grams after a
    leading tab (of the folded text with a space at both ends). With `tfidf` weighting a weight is
    (1 + ln count) x idf, and words and characters are each scaled to Euclidean length one, as
    scikit-learn's TfidfVectorizer(sublinear_tf=True) does; with `mean` it is count / total count.
    """

    def __init__(self, settings: GramSettings, vocabulary: Sequence[str], idf: np.ndarray) -> None:
        self.settings = settings
        self.vocabulary = vocabulary
        self.idf = idf
        self._idf = np.concatenate([[0.0], idf]).astype(np.float64)
        words_by_id: dict[str, int] = {}
        characters_by_id: dict[str, int] = {}
        for index, gram in enumerate(vocabulary, start=1):
            if gram.startswith(CHARACTERS):
                characters_by_id[gram[1:]] = index
            else:
                words_by_id[gram] = index
        self._ids = [words_by_id] * bool(settings.words) + [characters_by_id] * bool(settings.characters)

    @property
    def size(self) -> int:
        """The largest id."""
        return len(self.vocabulary)

    @classmethod
    def load(cls, settings: GramSettings, read: ReadFile) -> "GramEncoder":
        with np.load(io.BytesIO(read(settings.file)), allow_pickle=False) as stored:
            text = stored["grams"].tobytes().decode()
            return cls(settings, text.split("\n") if text else [], stored["idf"])

    def dump(self) -> bytes:
        """The vocabulary file's bytes, read back by `load`."""
        buffer = io.BytesIO()
        grams = np.frombuffer("\n".join(self.vocabulary).encode(), np.uint8)
        np.savez_compressed(buffer, grams=grams, idf=self.idf.astype(np.float32))
        return buffer.getvalue()

    def encode(self, texts: Sequence[str]) -> Inputs:
        return _padded(self.settings.name, *self.bags(texts))

    def bags(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same without padding: ids int32 and weights float32 of all texts in a row, n-grams a text int64."""
        ids: list[int] = []
        counts: list[int] = []
        sizes: list[int] = []
        for text in texts:
            for group, known in zip(gram_groups(fold(text), self.settings), self._ids, strict=True):
                # Counting ids instead of strings hashes every n-gram once only.
                found = Counter(map(known.get, group))
                found.pop(None, None)
                ids.extend(found)  # type: ignore[arg-type]  # None was taken out
                counts.extend(found.values())
                sizes.append(len(found))
        groups = len(self._ids)
        lengths = np.array(sizes, np.int64).reshape(len(texts), groups).sum(axis=1)
        flat_ids = np.array(ids, np.int32)
        count = np.array(counts, np.int64)
        if self.settings.weighting == "tfidf":
            raw = _SUBLINEAR[np.minimum(count, len(_SUBLINEAR) - 1)] * self._idf[flat_ids]
            part = np.repeat(np.arange(len(sizes)), sizes)
            scale = np.sqrt(np.bincount(part, raw * raw, len(sizes)))
        else:
            raw = count.astype(np.float64)
            part = np.repeat(np.arange(len(texts)), lengths)
            scale = np.bincount(part, raw, len(texts))
        return flat_ids, (raw / scale[part]).astype(np.float32), lengths


class HashedGramEncoder:
    """The same bags without a vocabulary: an n-gram's id is 1 + its CRC-32 modulo the buckets.

    Nothing is learned from any text (feature hashing, Weinberger et al. 2009). Weights are 1 + ln count, and a
    text's have Euclidean length one, to which words and characters contribute alike.
    """

    def __init__(self, settings: HashedGramSettings) -> None:
        self.settings = settings
        self.size = settings.buckets

    def encode(self, texts: Sequence[str]) -> Inputs:
        return _padded(self.settings.name, *self.bags(texts))

    def bags(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `GramEncoder.bags`; an id that stands for n-grams of both kinds occurs twice."""
        ids: list[int] = []
        counts: list[int] = []
        sizes: list[int] = []
        for text in texts:
            for kind, group in enumerate(gram_groups(fold(text), self.settings)):
                found = Counter(group)
                ids.extend(zlib.crc32(gram.encode(), kind) % self.settings.buckets + 1 for gram in found)
                counts.extend(found.values())
                sizes.append(len(found))
        groups = bool(self.settings.words) + bool(self.settings.characters)
        parts = np.array(sizes, np.int64).reshape(len(texts), groups)
        raw = _SUBLINEAR[np.minimum(np.array(counts, np.int64), len(_SUBLINEAR) - 1)]
        part = np.repeat(np.arange(len(sizes)), sizes)
        # Where one kind has nothing, as the words of a text of marks alone may, the other has the whole length.
        share = np.maximum((parts > 0).sum(axis=1), 1).repeat(groups)
        scale = np.sqrt(np.bincount(part, raw * raw, len(sizes)) * share)
        return np.array(ids, np.int32), (raw / scale[part]).astype(np.float32), parts.sum(axis=1)


def _padded(name: str, ids: np.ndarray, weights: np.ndarray, lengths: np.ndarray) -> Inputs:
    """Bags that stand end to end as arrays [texts, most n-grams]."""
    filled = _filled(lengths)
    padded_ids = np.zeros(filled.shape, np.int32)
    padded_weights = np.zeros(filled.shape, np.float32)
    padded_ids[filled] = ids
    padded_weights[filled] = weights
    return {name: padded_ids, f"{name}_weights": padded_weights}


def _filled(lengths: np.ndarray) -> np.ndarray:
    """Which positions are no padding, bool [texts, longest]."""
    # A graph over a sequence needs one position even when every text is empty.
    return np.arange(int(lengths.max(initial=0)) or 1) < lengths[:, None]


def gram_groups(folded: str, settings: GramSettings | HashedGramSettings) -> Iterator[list[str]]:
    """The n-grams of a folded text: one list for words, one for characters, as far as each is set."""
    if settings.words:
        tokens = words(folded)
        grams = list(tokens) if settings.words[0] == 1 else []
        for size in range(max(settings.words[0], 2), settings.words[1] + 1):
            grams.extend(map(" ".join, zip(*(tokens[start:] for start in range(size)), strict=False)))
        yield grams
    if settings.characters:
        padded = f" {folded} "
        yield [
            padded[start : start + size]
            for size in range(settings.characters[0], settings.characters[1] + 1)
            for start in range(len(padded) - size + 1)
        ]


LOADERS: dict[type, Callable[..., Encoder]] = {
    TokenSettings: TokenEncoder.load,
    GramSettings: GramEncoder.load,
    HashedGramSettings: lambda settings, read: HashedGramEncoder(settings),
}
