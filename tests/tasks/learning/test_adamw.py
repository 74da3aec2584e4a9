"""The optimiser against its definition."""

import numpy as np
import pytest

from tasks.learning.adamw import AdamW, trainable
from tasks.learning.backend import keras, tf

GRADIENTS = [np.array([[0.3, -0.2], [0.0, 0.1]], np.float32), np.array([[-0.1, 0.4], [0.2, 0.0]], np.float32)]


def by_definition(start: np.ndarray, rate: float, decay: float) -> np.ndarray:
    """Algorithm 2 of Loshchilov and Hutter 2019, with Adam's epsilon inside the corrected root."""
    value, mean, square = start.astype(np.float64), np.zeros(start.shape), np.zeros(start.shape)
    for step, gradient in enumerate(GRADIENTS, start=1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient.astype(np.float64) ** 2
        scale = np.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        value = value - rate * scale * mean / (np.sqrt(square) + 1e-7) - rate * decay * value
    return value


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_it_follows_the_definition(decay: float) -> None:
    start = np.array([[1.0, -1.0], [0.5, 2.0]], np.float32)
    variable = keras.Variable(start)
    optimiser = AdamW([variable], [2.0], decay=decay)
    for gradient in GRADIENTS:
        optimiser.apply([tf.constant(gradient)], tf.constant(0.005))
    assert variable.numpy() == pytest.approx(by_definition(start, 0.01, decay), rel=1e-4)


def test_vectors_do_not_decay() -> None:
    variable = keras.Variable(np.ones(3, np.float32))
    AdamW([variable], [1.0], decay=0.5).apply([tf.zeros(3)], tf.constant(0.1))
    assert variable.numpy().tolist() == [1.0, 1.0, 1.0]


def test_a_sparse_step_sums_repeated_rows_and_leaves_others_alone() -> None:
    start = np.arange(8, dtype=np.float32).reshape(4, 2)
    sparse, dense = keras.Variable(start), keras.Variable(start)
    slices = tf.IndexedSlices(
        tf.constant([[1.0, 1.0], [2.0, 0.0], [0.5, 0.5]]), tf.constant([1, 3, 1]), tf.constant([4, 2])
    )
    full = tf.constant([[0.0, 0.0], [1.5, 1.5], [0.0, 0.0], [2.0, 0.0]])
    for _ in range(3):
        for variable, gradient in ((sparse, slices), (dense, full)):
            AdamW([variable], [1.0]).apply([gradient], tf.constant(0.1))
    assert np.allclose(sparse.numpy(), dense.numpy(), atol=1e-6)
    assert sparse.numpy()[[0, 2]].tolist() == start[[0, 2]].tolist()


def test_a_long_gradient_is_clipped() -> None:
    variable = keras.Variable(np.zeros((1, 2), np.float32))
    optimiser = AdamW([variable], [1.0], clip=1.0)
    optimiser.apply([tf.constant([[30.0, 40.0]])], tf.constant(0.1))
    assert optimiser.first[0].numpy().ravel() == pytest.approx([0.06, 0.08])


def test_the_longest_beginning_of_a_path_decides_the_rate() -> None:
    ids = keras.Input((None,), dtype="int32")
    values = keras.layers.Embedding(4, 2, name="part_embedding")(ids)
    values = keras.layers.GlobalAveragePooling1D()(values)
    model = keras.Model(ids, keras.layers.Dense(2, name="part_head")(keras.layers.Dense(2, name="other")(values)))
    variables, rates = trainable(model, {"part": 0.1, "part_head": 3.0, "other": 0.0})
    assert [variable.path for variable in variables] == [
        "part_embedding/embeddings",
        "part_head/kernel",
        "part_head/bias",
    ]
    assert rates == [0.1, 3.0, 3.0]
