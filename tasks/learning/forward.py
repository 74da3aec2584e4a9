"""Logits of a Keras model as a graph, batch by batch."""

from collections.abc import Callable
from typing import Any

import numpy as np

from bentos.text_classifier.model import in_order
from tasks.learning.backend import keras, tf
from tasks.learning.examples import Examples


def forward(model: keras.Model) -> Callable[[dict[str, Any]], Any]:
    """The model as a graph, traced once for every batch size and length."""
    return tf.function(lambda inputs: model(inputs, training=False), input_signature=[specs(model)], autograph=False)


def predict(call: Callable[[dict[str, Any]], Any], examples: Examples, batch_size: int = 128) -> np.ndarray:
    """Logits of every row in order, float32, computed by a `forward` in batches of like length."""
    found = []
    before = 0
    for block in examples.blocks():
        order = np.argsort(block.lengths, kind="stable")
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            found.append((before + rows, call(_tensors(block.batch(rows).inputs)).numpy()))
        before += len(order)
    return in_order(found)


def specs(model: keras.Model) -> dict[str, Any]:
    return {entry.name: tf.TensorSpec([None] * len(entry.shape), entry.dtype) for entry in model.inputs}


def _tensors(inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    return {name: tf.convert_to_tensor(array) for name, array in inputs.items()}
