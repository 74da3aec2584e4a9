"""The encoder of the BERT family (Devlin et al. 2019; RoBERTa, Liu et al. 2019; XLM-R, Conneau et al. 2020)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tasks.learning.backend import keras, ops
from tasks.models.architectures.layers import gelu, mean_over

ACTIVATIONS: dict[str, Any] = {
    "gelu": gelu,
    "gelu_new": keras.activations.gelu,
    "relu": keras.activations.relu,
    "silu": keras.activations.silu,
}


@dataclass(frozen=True)
class Shape:
    """Sizes of an encoder.

    `position_offset` is the row of the position table that the first token takes: 0 for BERT, the pad id
    and one more for RoBERTa, XLM-R and multilingual E5, whose positions count from there.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    hidden: int
    positions: int
    position_offset: int
    pad_id: int
    epsilon: float
    activation: str
    dropout: float = 0.1

    @property
    def longest(self) -> int:
        """Tokens of the longest text that can be read."""
        return self.positions - self.position_offset


@keras.saving.register_keras_serializable("maas")
class InputEmbedding(keras.layers.Layer):
    """Words plus positions, normalised: int32 [n, t] to float [n, t, width].

    Texts are of one type, so that the vector of the first token type is part of every position's.
    """

    def __init__(self, shape: dict[str, Any], **keywords: Any) -> None:
        super().__init__(**keywords)
        self.shape = Shape(**shape)
        self.normalise = keras.layers.LayerNormalization(epsilon=self.shape.epsilon, name="norm")
        self.dropout = keras.layers.Dropout(self.shape.dropout)

    def build(self, input_shape: Any) -> None:
        width = self.shape.width
        self.words = self.add_weight(shape=(self.shape.vocabulary, width), initializer="normal", name="words")
        self.positions = self.add_weight(shape=(self.shape.longest, width), initializer="normal", name="positions")
        self.normalise.build((None, None, width))

    def call(self, ids: Any, training: bool = False) -> Any:
        positions = ops.slice(self.positions, [0, 0], [ops.shape(ids)[1], self.shape.width])
        embedded = ops.take(self.words, ids, axis=0) + positions
        return self.dropout(self.normalise(ops.cast(embedded, self.compute_dtype)), training=training)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return (*input_shape, self.shape.width)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"shape": asdict(self.shape)}


@keras.saving.register_keras_serializable("maas")
class Block(keras.layers.Layer):
    """Self-attention and a feed-forward layer, each added to its input and normalised: [n, t, width] to the same.

    `bias` float [n, 1, 1, t] is added to the attention scores: 0 at tokens, very negative at padding.
    """

    def __init__(self, shape: dict[str, Any], **keywords: Any) -> None:
        super().__init__(**keywords)
        self.shape = Shape(**shape)
        dense, norm = keras.layers.Dense, keras.layers.LayerNormalization
        # Query, key and value in one product of matrices.
        self.attention = dense(3 * self.shape.width, name="attention")
        self.attended = dense(self.shape.width, name="attended")
        self.attention_norm = norm(epsilon=self.shape.epsilon, name="attention_norm")
        self.hidden = dense(self.shape.hidden, activation=ACTIVATIONS[self.shape.activation], name="hidden")
        self.output_ = dense(self.shape.width, name="output")
        self.output_norm = norm(epsilon=self.shape.epsilon, name="output_norm")
        self.dropout = keras.layers.Dropout(self.shape.dropout)

    def build(self, values_shape: Any, bias_shape: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for layer in (self.attention, self.attended, self.attention_norm, self.hidden, self.output_norm):
            layer.build((None, self.shape.width))
        self.output_.build((None, self.shape.hidden))

    def call(self, values: Any, bias: Any, training: bool = False) -> Any:
        width, heads = self.shape.width, self.shape.heads
        texts, tokens = ops.shape(values)[0], ops.shape(values)[1]
        # Dense layers see the tokens of all texts as rows of one matrix: one large product, in ONNX too.
        values = ops.reshape(values, (-1, width))
        parts = ops.reshape(self.attention(values), (texts, tokens, 3 * heads, width // heads))
        query, key, value = ops.split(ops.transpose(parts, (0, 2, 1, 3)), 3, axis=1)
        scores = ops.matmul(query * (width // heads) ** -0.5, ops.transpose(key, (0, 1, 3, 2)))
        # Keras brings a layer's arguments to its own precision, bfloat16 under mixed precision.
        scores = ops.cast(scores, "float32") + ops.cast(bias, "float32")
        shares = ops.cast(ops.softmax(scores), self.compute_dtype)
        mixed = ops.reshape(ops.transpose(ops.matmul(shares, value), (0, 2, 1, 3)), (-1, width))
        values = self.attention_norm(values + self.dropout(self.attended(mixed), training=training))
        changed = self.dropout(self.output_(self.hidden(values)), training=training)
        return ops.reshape(self.output_norm(values + changed), (texts, tokens, width))

    def compute_output_shape(self, values_shape: Any, bias_shape: Any) -> Any:
        return values_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"shape": asdict(self.shape)}


def encode_tokens(shape: Shape, ids: Any, mask: Any) -> list[Any]:
    """Each layer's vectors, [n, t, width], of token ids [n, t] with `mask` float32 [n, t, 1]; the last layer's last."""
    settings = asdict(shape)
    bias = (1.0 - ops.expand_dims(ops.transpose(mask, (0, 2, 1)), 1)) * -1e9
    values = InputEmbedding(settings, name="embedding")(ids)
    layers = []
    for number in range(shape.layers):
        values = Block(settings, name=f"block_{number}")(values, bias)
        layers.append(values)
    return layers


def pooled(values: Any, mask: Any, pooling: str) -> Any:
    """A text's vector, float32 [n, width]: the mean over its tokens, or the first token's vector."""
    return ops.cast(mean_over(values, mask) if pooling == "mean" else values[:, 0], "float32")


Read = Callable[[str], np.ndarray]


def load_weights(model: keras.Model, shape: Shape, read: Read) -> None:
    """Fills the layers that `encode_tokens` made with weights named as Hugging Face's BERT names them.

    Args:
        read: gives the array of a name such as `embeddings.word_embeddings.weight`.
    """
    positions = read("embeddings.position_embeddings.weight")[shape.position_offset :]
    positions = positions + read("embeddings.token_type_embeddings.weight")[0]
    model.get_layer("embedding").set_weights(
        [read("embeddings.word_embeddings.weight"), positions, *_norm(read, "embeddings.LayerNorm")]
    )
    for number in range(shape.layers):
        at = f"encoder.layer.{number}"
        attention = [_dense(read, f"{at}.attention.self.{part}") for part in ("query", "key", "value")]
        model.get_layer(f"block_{number}").set_weights(
            [
                np.concatenate([kernel for kernel, _ in attention], axis=1),
                np.concatenate([bias for _, bias in attention]),
                *_dense(read, f"{at}.attention.output.dense"),
                *_norm(read, f"{at}.attention.output.LayerNorm"),
                *_dense(read, f"{at}.intermediate.dense"),
                *_dense(read, f"{at}.output.dense"),
                *_norm(read, f"{at}.output.LayerNorm"),
            ]
        )


def _dense(read: Read, name: str) -> tuple[np.ndarray, np.ndarray]:
    return read(f"{name}.weight").T, read(f"{name}.bias")


def _norm(read: Read, name: str) -> tuple[np.ndarray, np.ndarray]:
    return read(f"{name}.weight"), read(f"{name}.bias")
