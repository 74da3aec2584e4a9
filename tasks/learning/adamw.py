"""AdamW with a rate for each variable, and with sparse updates of embedding tables."""

from collections.abc import Sequence
from typing import Any

from tasks.learning.backend import keras, tf


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), its state in plain variables.

    A table of which a step reads a few rows is updated in those rows alone: Keras' own AdamW
    rewrites the whole table at each step. Works under any tf.distribute strategy; gradients are
    summed over the replicas.

    Args:
        variables: Keras variables that are trained; create the optimiser within the strategy's scope.
        rates: a multiple of the learning rate for each variable.
        decay: weight decay of matrices; vectors (biases, scales) do not decay.
        clip: largest global norm of the gradients.
    """

    def __init__(
        self,
        variables: Sequence[Any],
        rates: Sequence[float],
        decay: float = 0.0,
        clip: float | None = None,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
    ) -> None:
        self.strategy = tf.distribute.get_strategy()
        self.trained = [variable.value for variable in variables]
        self.rates = list(rates)
        self.decays = [decay if len(variable.shape) > 1 else 0.0 for variable in variables]
        self.clip = clip
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.step = tf.Variable(tf.zeros((), tf.int64), trainable=False, name="step")
        self.first = [tf.Variable(tf.zeros(variable.shape), trainable=False) for variable in variables]
        self.second = [tf.Variable(tf.zeros(variable.shape), trainable=False) for variable in variables]

    @property
    def variables(self) -> list[Any]:
        """The state, in a fixed order."""
        return [self.step, *self.first, *self.second]

    def apply(self, gradients: Sequence[Any], rate: Any) -> None:
        """One step; call in cross-replica context with gradients from `strategy.run`."""
        strategy = self.strategy
        if strategy.num_replicas_in_sync > 1:
            gradients = [strategy.reduce("SUM", gradient, axis=None) for gradient in gradients]
        else:
            gradients = [_summed(gradient) for gradient in gradients]
        if self.clip is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.clip)
        self.step.assign_add(1)
        time = tf.cast(self.step, tf.float32)
        correction = tf.sqrt(1.0 - tf.pow(self.beta_2, time)) / (1.0 - tf.pow(self.beta_1, time))
        for index, gradient in enumerate(gradients):
            variable_rate = rate * self.rates[index]
            arguments = (self.first[index], self.second[index], gradient, variable_rate, correction)
            strategy.extended.update(
                self.trained[index], self._update, args=(*arguments, variable_rate * self.decays[index])
            )

    def _update(self, variable: Any, first: Any, second: Any, gradient: Any, rate: Any, scale: Any, decay: Any) -> None:
        if isinstance(gradient, tf.IndexedSlices):
            rows, gradient = gradient.indices, gradient.values
            mean = self.beta_1 * tf.gather(first, rows) + (1.0 - self.beta_1) * gradient
            square = self.beta_2 * tf.gather(second, rows) + (1.0 - self.beta_2) * tf.square(gradient)
            step = rate * scale * mean / (tf.sqrt(square) + self.epsilon) + decay * tf.gather(variable, rows)
            first.scatter_update(tf.IndexedSlices(mean, rows))
            second.scatter_update(tf.IndexedSlices(square, rows))
            variable.scatter_sub(tf.IndexedSlices(step, rows))
        else:
            first.assign(self.beta_1 * first + (1.0 - self.beta_1) * gradient)
            second.assign(self.beta_2 * second + (1.0 - self.beta_2) * tf.square(gradient))
            variable.assign_sub(rate * scale * first / (tf.sqrt(second) + self.epsilon) + decay * variable)


def _summed(gradient: Any) -> Any:
    """A sparse gradient with each row once; others as they are."""
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, places = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, places, tf.shape(rows)[0])
    return tf.IndexedSlices(values, rows, gradient.dense_shape)


def trainable(model: keras.Model, rates: dict[str, float]) -> tuple[list[Any], list[float]]:
    """The model's variables that train and their rates.

    `rates` maps the beginning of a variable's path to a multiple of the learning rate, the longest
    beginning deciding; 0 freezes.
    """
    chosen = []
    for variable in model.trainable_variables:
        matching = [start for start in rates if variable.path.startswith(start)]
        rate = rates[max(matching, key=len)] if matching else 1.0
        if rate:
            chosen.append((variable, rate))
    return [variable for variable, _ in chosen], [rate for _, rate in chosen]
