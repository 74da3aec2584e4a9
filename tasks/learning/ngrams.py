"""Fitting the n-gram vocabularies of `GramEncoder`: document frequency, idf and limits of size."""

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from bentos.text_classifier.encoding import CHARACTERS, GramEncoder, HashedGramEncoder, gram_groups
from bentos.text_classifier.manifest import GramSettings
from bentos.text_classifier.text import fold

# Beyond so many different n-grams for each that may be kept the rarer half is forgotten. One takes about 150 bytes.
_COUNTED = 10


def fit_grams(
    texts: Iterable[str],
    *,
    words: tuple[int, int] | None = (1, 2),
    characters: tuple[int, int] | None = None,
    min_df: int = 1,
    max_features: int | None = None,
    weighting: str = "tfidf",
) -> GramEncoder:
    """The encoder of the n-grams in at least `min_df` of the `texts`, which are read once.

    idf is ln((1 + texts) / (1 + df)) + 1 as scikit-learn's TfidfVectorizer has it. Of each kind, words and
    characters, the `max_features` most frequent are kept (all when None).
    The input's name holds a hash of the vocabulary, so that one graph can hold several.
    """
    frequencies = GramFrequencies(words, characters, max_features)
    frequencies.count(texts)
    return frequencies.encoder(min_df=min_df, weighting=weighting)


class GramFrequencies:
    """In how many texts each n-gram occurs, by kind; from it encoders of one kind or both can be made.

    Of each kind the `max_features` most frequent are kept, all when None.
    """

    def __init__(
        self, words: tuple[int, int] | None, characters: tuple[int, int] | None, max_features: int | None = None
    ) -> None:
        self.words = words
        self.characters = characters
        self.max_features = max_features
        self.texts = 0
        self.groups: list[Counter[str]] = [Counter() for size in (words, characters) if size]

    def count(self, texts: Iterable[str]) -> None:
        """Adds `texts`."""
        settings = GramSettings("", "", self.words, self.characters)
        most = math.inf if self.max_features is None else _COUNTED * self.max_features
        for text in texts:
            self.texts += 1
            for counter, group in zip(self.groups, gram_groups(fold(text), settings), strict=True):
                counter.update(set(group))
            if self.texts % 1000 == 0 and sum(map(len, self.groups)) > most:
                self._forget(int(most / 2))

    def _forget(self, most: int) -> None:
        """Drops the rarest, whole frequencies of them, until at most so many n-grams are left."""
        frequencies = Counter(count for counter in self.groups for count in counter.values())
        left = frequencies.total()
        least = 1
        while left > most:
            left -= frequencies[least]
            least += 1
        self.groups = [Counter({gram: count for gram, count in one.items() if count >= least}) for one in self.groups]

    def encoder(
        self,
        *,
        words: bool = True,
        characters: bool = True,
        min_df: int = 1,
        weighting: str = "tfidf",
    ) -> GramEncoder:
        """An encoder of the counted n-grams, of both kinds or of one."""
        kinds = [kind for kind, size in (("words", self.words), ("characters", self.characters)) if size]
        vocabulary: list[str] = []
        frequency: list[int] = []
        for kind, counter in zip(kinds, self.groups, strict=True):
            if not (words if kind == "words" else characters):
                continue
            mark = "" if kind == "words" else CHARACTERS
            # In order, so that the vocabulary does not depend on that of the rows.
            counted = ((-count, gram) for gram, count in counter.items() if count >= min_df)
            kept = heapq.nsmallest(len(counter) if self.max_features is None else self.max_features, counted)
            vocabulary.extend(mark + gram for _, gram in kept)
            frequency.extend(-count for count, _ in kept)
        idf = np.log((1 + self.texts) / (1 + np.array(frequency, np.float64))) + 1
        return named_encoder(
            vocabulary,
            idf.astype(np.float32),
            words=self.words if words else None,
            characters=self.characters if characters else None,
            weighting=weighting,
        )


def named_encoder(
    vocabulary: Sequence[str],
    idf: np.ndarray,
    *,
    words: tuple[int, int] | None,
    characters: tuple[int, int] | None,
    weighting: str,
) -> GramEncoder:
    """An encoder whose name and file are unique by content."""
    digest = hashlib.sha256(repr((words, characters, weighting)).encode())
    digest.update("\n".join(vocabulary).encode())
    digest.update(idf.astype(np.float32).tobytes())
    name = f"grams_{digest.hexdigest()[:8]}"
    return GramEncoder(
        GramSettings(name, f"{name}.npz", words, characters, weighting),  # type: ignore[arg-type]
        vocabulary,
        idf.astype(np.float32),
    )


def sparse(encoder: GramEncoder | HashedGramEncoder, texts: Sequence[str], batch: int = 4096) -> csr_matrix:
    """The bags of `texts` as a float32 matrix [texts, ids]; column j is the n-gram of id j + 1."""
    columns, values, lengths = [], [], []
    for start in range(0, len(texts), batch):
        ids, weights, sizes = encoder.bags(texts[start : start + batch])
        columns.append(ids - 1)
        values.append(weights)
        lengths.append(sizes)
    pointers = np.concatenate([[0], *lengths]).cumsum()
    shape = (len(texts), encoder.size)
    return csr_matrix((np.concatenate(values), np.concatenate(columns), pointers), shape=shape)
