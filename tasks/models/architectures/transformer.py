"""A Transformer encoder (Vaswani et al. 2017) over word pieces, normalised before each part (Xiong et al. 2020)."""

from typing import Any

from tasks.base.manifests import Dataset
from tasks.base.settings import Effort
from tasks.learning.backend import keras, ops
from tasks.models.architectures import register
from tasks.models.architectures.layers import PositionEmbedding, gelu
from tasks.models.architectures.tokens import Hyper, TokenModel


def _defaults(dataset: Dataset, effort: Effort) -> Hyper:
    return {
        "blocks": {"quick": 1, "standard": 2, "thorough": 2}[effort],
        "heads": 4,
        "hidden": 256,
        "block_dropout": 0.2,
        "learning_rate": 1e-3,
    }


def _encoder(values: Any, mask: Any, hyper: Hyper) -> list[Any]:
    width, dropout = hyper["width"], hyper["block_dropout"]
    values = PositionEmbedding(hyper["max_length"], name="positions")(values)
    values = keras.layers.Dropout(dropout)(values)
    for block in range(hyper["blocks"]):
        inner = keras.layers.LayerNormalization(name=f"attention_norm_{block}")(values)
        inner = _attention(inner, mask, width, hyper["heads"], dropout, f"attention_{block}")
        values = values + keras.layers.Dropout(dropout)(inner)
        inner = keras.layers.LayerNormalization(name=f"hidden_norm_{block}")(values)
        inner = keras.layers.Dense(hyper["hidden"], activation=gelu, name=f"hidden_{block}")(inner)
        inner = keras.layers.Dense(width, name=f"output_{block}")(inner)
        values = values + keras.layers.Dropout(dropout)(inner)
    return [keras.layers.LayerNormalization(name="norm")(values)]


def _attention(values: Any, mask: Any, width: int, heads: int, dropout: float, name: str) -> Any:
    """Every position attends to the unmasked ones.

    Written with matrix products: tf2onnx rewrites an einsum, as Keras' own layer has it, by trying
    permutations of its axes.
    """

    def split(part: str) -> Any:
        """[texts, positions, width] as [texts, heads, positions, width of a head]."""
        projected = keras.layers.Dense(width, name=f"{name}_{part}")(values)
        return ops.transpose(keras.layers.Reshape((-1, heads, width // heads))(projected), (0, 2, 1, 3))

    scores = ops.matmul(split("query"), ops.transpose(split("key"), (0, 1, 3, 2))) / (width // heads) ** 0.5
    hidden = ops.expand_dims(ops.transpose(1.0 - mask, (0, 2, 1)), 1)
    shares = keras.layers.Dropout(dropout)(ops.softmax(scores - ops.cast(hidden * 1e9, scores.dtype)))
    mixed = ops.transpose(ops.matmul(shares, split("value")), (0, 2, 1, 3))
    return keras.layers.Dense(width, name=f"{name}_output")(keras.layers.Reshape((-1, width))(mixed))


register(TokenModel("transformer", ("thorough",), _encoder, _defaults))
