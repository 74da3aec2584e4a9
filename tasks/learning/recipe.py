"""How a model is trained: epochs, rates, stopping, averaging."""

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from tasks.base.settings import TrainSettings

IMBALANCE = 10.0
"""Rows of the largest class for one of the smallest; from there on classes are weighed unless a setting forbids it."""


@dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    `warm_up` is the share of the steps in which the rate rises to `learning_rate`, from where it
    falls to zero by `schedule`. Training stops after `patience` epochs without a better validation
    metric and goes back to the best epoch; with `average` the weights are instead the mean over the
    last epoch, and no epoch is left out. `rates` are multiples of the learning rate by the beginning
    of a variable's path; 0 freezes. `seconds` bounds the training: after the first steps have been
    timed, the epochs are cut to what fits. `xla` says whether the structure can be compiled.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    warm_up: float = 0.1
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    decay: float = 0.01
    clip: float | None = 1.0
    patience: int = 3
    smoothing: float = 0.0
    average: bool = False
    rates: dict[str, float] = field(default_factory=dict)
    seconds: float | None = None
    xla: bool = True

    def with_settings(self, train: TrainSettings) -> "Recipe":
        """The recipe with what the user has set by hand."""
        chosen = {
            "epochs": train.epochs,
            "batch_size": train.batch_size,
            "learning_rate": train.learning_rate,
        }
        return replace(self, **{name: value for name, value in chosen.items() if value is not None})

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0."""
        warm = max(int(self.warm_up * steps), 1)
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        done = (step - warm) / max(steps - warm, 1)
        shape = {"cosine": 0.5 * (1.0 + np.cos(np.pi * done)), "linear": 1.0 - done, "constant": 1.0}
        return self.learning_rate * float(shape[self.schedule])
