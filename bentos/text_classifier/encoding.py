"""From texts to the named inputs of the ONNX graph."""

import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
from tokenizers import Tokenizer

from bentos.text_classifier.manifest import GramSettings, TokenSettings
from bentos.text_classifier.text import clean, fold, words

Inputs = dict[str, np.ndarray]
ReadFile = Callable[[str], bytes]


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

    @classmethod
    def load(cls, settings: TokenSettings, read: ReadFile) -> "TokenEncoder":
        return cls(settings, Tokenizer.from_buffer(read(settings.file)))

    def encode(self, texts: Sequence[str]) -> Inputs:
        prefix = self.settings.prefix
        encoded = self.tokenizer.encode_batch_fast([prefix + clean(text) for text in texts])
        lengths = [len(one.ids) for one in encoded]
        # A graph over a sequence needs one position even when every text is empty.
        ids = np.full((len(texts), max(lengths, default=0) or 1), self.settings.pad_id, np.int32)
        for row, one, length in zip(ids, encoded, lengths, strict=True):
            row[:length] = one.ids
        return {self.settings.name: ids}

    def offsets(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        """For every token of every text its place in the `clean`ed text, in code points; (0, 0) for marks."""
        prefix = len(self.settings.prefix)
        encoded = self.tokenizer.encode_batch([self.settings.prefix + clean(text) for text in texts])
        return [[(max(a - prefix, 0), max(b - prefix, 0)) for a, b in one.offsets] for one in encoded]


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
        self._ids = {gram: index for index, gram in enumerate(vocabulary, start=1)}
        self._idf = [0.0, *idf.tolist()]

    @classmethod
    def load(cls, settings: GramSettings, read: ReadFile) -> "GramEncoder":
        with np.load(io.BytesIO(read(settings.file)), allow_pickle=False) as stored:
            grams = stored["grams"].tobytes().decode().split("\n")
            return cls(settings, grams, stored["idf"])

    def dump(self) -> bytes:
        """The vocabulary file's bytes, read back by `load`."""
        buffer = io.BytesIO()
        grams = np.frombuffer("\n".join(self.vocabulary).encode(), np.uint8)
        np.savez_compressed(buffer, grams=grams, idf=self.idf.astype(np.float32))
        return buffer.getvalue()

    def encode(self, texts: Sequence[str]) -> Inputs:
        bags = [self._bag(text) for text in texts]
        width = max((len(ids) for ids, _ in bags), default=0) or 1
        ids = np.zeros((len(texts), width), np.int32)
        weights = np.zeros((len(texts), width), np.float32)
        for row, (bag_ids, bag_weights) in enumerate(bags):
            ids[row, : len(bag_ids)] = bag_ids
            weights[row, : len(bag_weights)] = bag_weights
        return {self.settings.name: ids, f"{self.settings.name}_weights": weights}

    def _bag(self, text: str) -> tuple[list[int], list[float]]:
        ids: list[int] = []
        weights: list[float] = []
        for group in gram_groups(fold(text), self.settings):
            counts = [(index, count) for gram, count in Counter(group).items() if (index := self._ids.get(gram))]
            ids.extend(index for index, _ in counts)
            if self.settings.weighting == "tfidf":
                raw = [(1.0 + math.log(count)) * self._idf[index] for index, count in counts]
                norm = math.sqrt(sum(value * value for value in raw)) or 1.0
                weights.extend(value / norm for value in raw)
            else:
                weights.extend(float(count) for _, count in counts)
        if self.settings.weighting == "mean":
            total = sum(weights) or 1.0
            weights = [weight / total for weight in weights]
        return ids, weights


def gram_groups(folded: str, settings: GramSettings) -> Iterable[list[str]]:
    """The n-grams of a folded text: one list for words, one for characters, as far as each is set."""
    if settings.words:
        tokens = words(folded)
        yield [
            " ".join(tokens[start : start + size])
            for size in range(settings.words[0], settings.words[1] + 1)
            for start in range(len(tokens) - size + 1)
        ]
    if settings.characters:
        padded = f" {folded} "
        yield [
            "\t" + padded[start : start + size]
            for size in range(settings.characters[0], settings.characters[1] + 1)
            for start in range(len(padded) - size + 1)
        ]


LOADERS: dict[type, Callable[..., Encoder]] = {
    TokenSettings: TokenEncoder.load,
    GramSettings: GramEncoder.load,
}
