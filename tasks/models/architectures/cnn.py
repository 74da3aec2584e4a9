"""Convolutions of several widths under a maximum over the text (Kim 2014)."""

from typing import Any

from tasks.base.manifests import Dataset
from tasks.base.settings import Effort
from tasks.learning.backend import keras, ops
from tasks.models.architectures import register
from tasks.models.architectures.tokens import Hyper, TokenModel


def _defaults(dataset: Dataset, effort: Effort) -> Hyper:
    # Kernels compute 16 filters at a time.
    return {"windows": (1, 2, 3, 4), "filters": 80, "width": 192}


def _convolutions(values: Any, mask: Any, hyper: Hyper) -> list[Any]:
    # As one row of an image: bias and activation are parts of such a convolution in ONNX Runtime.
    row = ops.expand_dims(keras.layers.SpatialDropout1D(0.2)(values), 1)
    kept = ops.cast(ops.expand_dims(mask, 1), values.dtype)
    found = []
    for window in hyper["windows"]:
        layer = keras.layers.Conv2D(
            hyper["filters"], (1, window), padding="same", activation="relu", name=f"window_{window}"
        )
        found.append(ops.squeeze(layer(row) * kept, 1))
    return found


def _largest(values: Any, mask: Any) -> Any:
    """`max_over` of what is zero at padding and nowhere below."""
    return ops.max(values, axis=1)


register(TokenModel("cnn", ("standard", "thorough"), _convolutions, _defaults, pooling=(_largest,)))
