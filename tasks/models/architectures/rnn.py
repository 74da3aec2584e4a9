"""Recurrent networks in both directions: LSTM (Hochreiter and Schmidhuber 1997) and GRU (Cho et al. 2014)."""

from collections.abc import Callable
from typing import Any

from tasks.base.manifests import Dataset
from tasks.base.settings import Effort
from tasks.learning.backend import keras
from tasks.models.architectures import register
from tasks.models.architectures.layers import Recurrence
from tasks.models.architectures.tokens import Hyper, TokenModel


def _defaults(dataset: Dataset, effort: Effort) -> Hyper:
    return {"units": {"quick": 64, "standard": 128, "thorough": 192}[effort]}


def _recurrence(cell: str) -> Callable[[Any, Any, Hyper], list[Any]]:
    def features(values: Any, mask: Any, hyper: Hyper) -> list[Any]:
        values = keras.layers.SpatialDropout1D(0.2)(values)
        return [Recurrence(cell, hyper["units"], name=cell)(values, mask)]

    return features


# XLA cannot compile cuDNN's recurrences, which are faster than what it can.
register(TokenModel("lstm", ("standard", "thorough"), _recurrence("lstm"), _defaults, xla=False))
register(TokenModel("gru", ("thorough",), _recurrence("gru"), _defaults, xla=False))
