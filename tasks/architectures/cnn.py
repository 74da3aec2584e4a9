"""Convolutions of several widths under a maximum over the text (Kim 2014)."""

from tasks.architectures import register
from tasks.architectures.layers import max_over
from tasks.architectures.tokens import Hyper, TokenModel
from tasks.backend import keras
from tasks.manifests import Dataset
from tasks.settings import Effort


def _defaults(dataset: Dataset, effort: Effort) -> Hyper:
    return {"windows": (1, 2, 3, 4), "filters": 100}


def _convolutions(values: keras.KerasTensor, mask: keras.KerasTensor, hyper: Hyper) -> list[keras.KerasTensor]:
    values = keras.layers.SpatialDropout1D(0.2)(values)
    return [
        keras.layers.Conv1D(hyper["filters"], window, padding="same", activation="relu", name=f"window_{window}")(
            values
        )
        for window in hyper["windows"]
    ]


register(TokenModel("cnn", ("standard", "thorough"), _convolutions, _defaults, pooling=(max_over,)))
