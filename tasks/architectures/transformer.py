"""A Transformer encoder (Vaswani et al. 2017) trained from nothing, normalised before each part (Xiong et al. 2020)."""

from typing import Any

from tasks.architectures import register
from tasks.architectures.layers import PositionEmbedding, gelu
from tasks.architectures.tokens import Hyper, TokenModel
from tasks.backend import keras, ops
from tasks.manifests import Dataset
from tasks.settings import Effort


def _defaults(dataset: Dataset, effort: Effort) -> Hyper:
    return {
        "blocks": {"quick": 1, "standard": 2, "thorough": 2}[effort],
        "heads": 4,
        "hidden": 256,
        "block_dropout": 0.2,
        "learning_rate": 1e-3,
    }


def _encoder(values: Any, mask: Any, hyper: Hyper) -> Any:
    values = PositionEmbedding(hyper["max_length"], name="positions")(values)
    values = keras.layers.Dropout(hyper["block_dropout"])(values)
    # Queries at padding see the text too; their results are masked where they are pooled.
    seen = ops.cast(ops.transpose(mask, (0, 2, 1)), "bool")
    for block in range(hyper["blocks"]):
        inner = keras.layers.LayerNormalization(name=f"attention_norm_{block}")(values)
        inner = keras.layers.MultiHeadAttention(
            hyper["heads"], hyper["width"] // hyper["heads"], dropout=hyper["block_dropout"], name=f"attention_{block}"
        )(inner, inner, attention_mask=seen)
        values = values + keras.layers.Dropout(hyper["block_dropout"])(inner)
        inner = keras.layers.LayerNormalization(name=f"hidden_norm_{block}")(values)
        inner = keras.layers.Dense(hyper["hidden"], activation=gelu, name=f"hidden_{block}")(inner)
        inner = keras.layers.Dense(hyper["width"], name=f"output_{block}")(inner)
        values = values + keras.layers.Dropout(hyper["block_dropout"])(inner)
    return keras.layers.LayerNormalization(name="norm")(values)


register(TokenModel("transformer", ("thorough",), _encoder, _defaults))
