"""A pre-trained encoder, opened: how it is to be used, its tokenizer and its weights."""

import itertools
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from tokenizers import Tokenizer

from bentos.text_classifier.encoding import TokenEncoder
from bentos.text_classifier.manifest import TokenSettings
from bentos.text_classifier.text import clean
from tasks.base.errors import InputError
from tasks.base.manifests import content_of
from tasks.learning.backend import keras
from tasks.models.pretrained.encoder import Read, Shape, load_weights
from tasks.models.pretrained.vocabulary import reduced

_SAMPLE = 5_000

_SPREAD = 0.25 / 3**0.5
_WORDS = "embeddings.word_embeddings.weight"


@dataclass(frozen=True)
class Pretrained:
    """An encoder of the BERT family.

    `name` is what a person calls it by, `tokenizer_file` the bytes of a tokenizer.json, `reading` opens the
    weights, named as Hugging Face's BERT names them; `rows` are those of the word table that are used, all when None.
    """

    name: str
    shape: Shape
    prefix: str
    pooling: Literal["mean", "first"]
    tokenizer_file: bytes
    reading: Callable[[], AbstractContextManager[Read]]
    rows: np.ndarray | None = None

    def token_encoder(self, max_length: int) -> TokenEncoder:
        """Its tokenizer, cutting texts to `max_length` tokens, marks included."""
        tokenizer = Tokenizer.from_buffer(self.tokenizer_file)
        # Padding and truncation of its own are no part of what the name stands for.
        tokenizer.no_padding()
        length = min(max_length, self.shape.longest)
        tokenizer.enable_truncation(length)
        name = f"tokens_{content_of(tokenizer.to_str(), self.prefix)[:8]}"
        return TokenEncoder(TokenSettings(name, f"{name}.json", length, self.shape.pad_id, self.prefix), tokenizer)

    def fitted_encoder(self, texts: Iterable[str], most: int) -> TokenEncoder:
        """Its tokenizer, cutting at the length that hardly a text of the first few thousand exceeds, or at `most`."""
        whole = self.token_encoder(self.shape.longest)
        sample = list(itertools.islice(texts, _SAMPLE))
        lengths = [len(one.ids) for one in whole.tokenizer.encode_batch_fast([self.prefix + clean(x) for x in sample])]
        wanted = int(np.quantile(lengths, 0.995)) if lengths else most
        return self.token_encoder(min(most, -(-wanted // 8) * 8))

    def reduced_to(self, texts: Iterable[str]) -> "Pretrained":
        """The encoder with the pieces that these texts, and texts like them, are made of; itself where it has few."""
        found = reduced(self.tokenizer_file, (self.prefix + clean(text) for text in texts))
        if found is None:
            return self
        places = {old: new for new, old in enumerate(found.rows.tolist())}
        shape = replace(self.shape, vocabulary=len(found.rows), pad_id=places[self.shape.pad_id])
        return replace(self, shape=shape, tokenizer_file=found.tokenizer_file, rows=found.rows)

    def word_vectors(self, width: int) -> np.ndarray:
        """Vectors of its pieces by id, float32 [pieces, width]: the principal components of its word table, in the
        spread of vectors that are drawn between -0.25 and 0.25. `width` is at most the encoder's."""
        with self.reading() as stored:
            table = stored(_WORDS)
        table = (table if self.rows is None else table[self.rows]).astype(np.float64)
        table -= table.mean(axis=0)
        _, directions = np.linalg.eigh(table.T @ table)
        vectors = table @ directions[:, ::-1][:, :width]
        return (vectors * (_SPREAD / vectors.std())).astype(np.float32)

    def load_into(self, model: keras.Model) -> None:
        """Fills the layers that `encode_tokens` made in `model`.

        Raises:
            InputError: the weights cannot be read, one is missing or of another shape.
        """
        with self.reading() as stored:

            def read(name: str) -> np.ndarray:
                weight = stored(name)
                return weight[self.rows] if name == _WORDS and self.rows is not None else weight

            try:
                load_weights(model, self.shape, read)
            except ValueError as error:
                raise InputError(
                    f"train.pretrained: the weights of {self.name} do not fit its sizes: {error}"
                ) from error
