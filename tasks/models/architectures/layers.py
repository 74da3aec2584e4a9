"""Own Keras layers, registered so that `model.keras` loads wherever this module was imported.

Texts are right-padded: no block gives a result that depends on how far.
"""

from typing import Any

from tasks.learning.backend import keras, ops, tf


@keras.saving.register_keras_serializable("maas")
class WeightedBag(keras.layers.Layer):
    """The weighted sum of the rows of a table: ids int [n, g] and weights float [n, g] give [n, units].

    Padding has weight 0, so that its row never counts.

    Args:
        rows: rows of the table, the row of id 0 (padding) included.
        units: width of the result.
        use_bias: adds a bias [units].
        initializer: of the table.
    """

    def __init__(
        self, rows: int, units: int, use_bias: bool = False, initializer: Any = "uniform", **keywords: Any
    ) -> None:
        super().__init__(**keywords)
        self.rows = rows
        self.units = units
        self.use_bias = use_bias
        self.initializer = keras.initializers.get(initializer)

    def build(self, ids_shape: Any, weights_shape: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.table = self.add_weight(shape=(self.rows, self.units), initializer=self.initializer, name="table")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias") if self.use_bias else None

    def call(self, ids: Any, weights: Any) -> Any:
        weights = ops.cast(weights, self.compute_dtype)
        # One matrix product a text sums without a second tensor of the gathered rows' size.
        total = ops.matmul(ops.expand_dims(weights, 1), ops.take(self.table, ids, axis=0))[:, 0]
        return total if self.bias is None else total + self.bias

    def compute_output_shape(self, ids_shape: Any, weights_shape: Any) -> tuple[Any, int]:
        return (ids_shape[0], self.units)

    def get_config(self) -> dict[str, Any]:
        initializer = keras.initializers.serialize(self.initializer)
        return super().get_config() | {
            "rows": self.rows,
            "units": self.units,
            "use_bias": self.use_bias,
            "initializer": initializer,
        }


CELLS = {"lstm": keras.layers.LSTM, "gru": keras.layers.GRU}


@keras.saving.register_keras_serializable("maas")
class Recurrence(keras.layers.Layer):
    """An LSTM or GRU over the text in both directions: [texts, positions, 2 units], zero at padding.

    There is no Keras mask, which would become a Loop in ONNX: forwards, the padding on the right
    comes after everything that counts; backwards, each text is reversed within its own length. While
    `as_one_node` is set the layer is traced as a placeholder that `convert` turns into one native
    ONNX node over the texts' lengths.
    """

    def __init__(self, cell: str, units: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.cell = cell
        self.units = units
        self.forwards = CELLS[cell](units, return_sequences=True, name="forwards")
        self.backwards = CELLS[cell](units, return_sequences=True, name="backwards")
        self.as_one_node = False

    def build(self, values_shape: Any, kept_shape: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.forwards.build(values_shape)
        self.backwards.build(values_shape)

    # Keras gives an argument called `mask` a meaning of its own.
    def call(self, values: Any, kept: Any) -> Any:
        lengths = ops.cast(ops.sum(kept, axis=(1, 2)), "int32")
        if self.as_one_node:
            weights = [ops.convert_to_tensor(weight) for weight in self.weights]
            placeholder = tf.numpy_function(_not_computed, [values, lengths, *weights], tf.float32)
            return tf.ensure_shape(placeholder, [None, None, 2 * self.units]) * kept
        ahead = self.forwards(values)
        back = self.backwards(tf.reverse_sequence(values, lengths, seq_axis=1, batch_axis=0))
        both = ops.concatenate([ahead, tf.reverse_sequence(back, lengths, seq_axis=1, batch_axis=0)], axis=-1)
        return both * ops.cast(kept, both.dtype)

    def compute_output_shape(self, values_shape: Any, kept_shape: Any) -> Any:
        return (*values_shape[:-1], 2 * self.units)

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"cell": self.cell, "units": self.units}


def _not_computed(*_: Any) -> Any:
    raise RuntimeError("a placeholder for conversion was run")


@keras.saving.register_keras_serializable("maas")
class PositionEmbedding(keras.layers.Layer):
    """Adds a learned vector a position to values [texts, positions, width]; at most `length` positions."""

    def __init__(self, length: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.length = length

    def build(self, input_shape: Any) -> None:
        self.table = self.add_weight(shape=(self.length, input_shape[-1]), initializer="uniform", name="table")

    def call(self, values: Any) -> Any:
        return values + ops.cast(self.table[: ops.shape(values)[1]], values.dtype)

    def compute_output_shape(self, input_shape: Any) -> Any:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"length": self.length}


@keras.saving.register_keras_serializable("maas")
def gelu(values: Any) -> Any:
    """Exact GELU, written with `erf` because tf2onnx knows no `erfc`."""
    return 0.5 * values * (1.0 + ops.erf(values * 0.7071067811865476))


def mask_of(ids: Any, pad_id: int = 0) -> Any:
    """1.0 at tokens and 0.0 at padding: float32 [texts, positions, 1] of int32 [texts, positions]."""
    return ops.expand_dims(ops.cast(ops.not_equal(ids, pad_id), "float32"), -1)


def mean_over(values: Any, mask: Any) -> Any:
    """Mean over the unmasked positions, [texts, width] of [texts, positions, width]; zero for an empty text."""
    return ops.sum(values * mask, axis=1) / ops.maximum(ops.sum(mask, axis=1), 1.0)


def max_over(values: Any, mask: Any) -> Any:
    """Maximum over the unmasked positions, [texts, width] of [texts, positions, width]; zero for an empty text."""
    return ops.max(values + (mask - 1.0) * 1e4, axis=1) * ops.max(mask, axis=1)
