"""A linear layer trained with differential privacy: DP-SGD (Abadi et al. 2016) over fixed features.

The gradient of one row's cross entropy is the outer product of its features x and its error e, the answered
minus the true probabilities. Its norm is |x| |e|, so that every row's gradient is clipped without being made:
the clipped sum of a lot is one product of matrices.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from bentos.text_classifier.manifest import Privacy
from tasks.learning.privacy import Uniform, normal
from tasks.learning.support_vectors import Solution

BIAS = 0.3
"""What stands for 1 in the features of a bias, so that it takes a small part of a clipped gradient."""

MOMENTUM = 0.9

Features = Any
"""Float32 [rows, features], a numpy array or a sparse matrix of scipy."""


@dataclass(frozen=True)
class Rows:
    """Features with targets, float32 [rows, labels] between 0 and 1, and weights."""

    features: Features
    targets: np.ndarray
    weights: np.ndarray


def train_privately(
    rows: Rows,
    scores: Callable[[np.ndarray], np.ndarray],
    privacy: Privacy,
    learning_rate: float,
    uniform: Uniform,
    tell: Callable[[float], None] = lambda share: None,
) -> Solution:
    """The mean of the weights over the second half of the steps.

    Args:
        scores: probabilities of logits [rows, labels]: softmax, or sigmoid for several labels a row.
        privacy: rate, clip, noise and number of the steps.
        learning_rate: of the sum of a lot's gradients over the rows that a lot is expected to have.
        uniform: from where the lots and the noise are drawn.
        tell: called with the share that is done.
    """
    count, labels = rows.targets.shape
    lengths = np.sqrt(_squares(rows.features) + BIAS**2)
    weights = np.zeros((rows.features.shape[1] + 1, labels), np.float32)
    velocity = np.zeros_like(weights)
    mean = np.zeros_like(weights)
    counted = 0
    for step in range(privacy.steps):
        lot = np.flatnonzero(uniform(count) < privacy.rate) if privacy.rate < 1 else slice(None)
        features: Any = rows.features[lot]
        errors = scores(_logits(features, weights)) - rows.targets[lot]
        total = clipped_sum(features, errors * rows.weights[lot, None], lengths[lot], privacy.clip)
        total += privacy.noise * privacy.clip * normal(uniform, total.shape)
        velocity = MOMENTUM * velocity + total / (privacy.rate * count)
        weights -= learning_rate * (1 - MOMENTUM) * velocity
        if 2 * step >= privacy.steps:
            counted += 1
            mean += (weights - mean) / counted
        tell((step + 1) / privacy.steps)
    return Solution(mean[:-1], BIAS * mean[-1])


def clipped_sum(features: Features, errors: np.ndarray, lengths: np.ndarray, clip: float) -> np.ndarray:
    """The sum of the rows' gradients, float32 [features + 1, labels], each cut to the norm `clip`.

    Args:
        errors: float32 [rows, labels].
        lengths: norms of the rows' features, that of the bias included.
    """
    norms = np.linalg.norm(errors, axis=1) * lengths
    kept = (errors * np.minimum(1.0, clip / np.maximum(norms, 1e-12))[:, None]).astype(np.float32)
    return np.vstack([np.asarray(features.T @ kept), BIAS * kept.sum(axis=0, keepdims=True)])


def _logits(features: Any, weights: np.ndarray) -> np.ndarray:
    return np.asarray(features @ weights[:-1]) + BIAS * weights[-1]


def _squares(features: Features) -> np.ndarray:
    squares = features.multiply(features) if isinstance(features, csr_matrix) else features * features
    return np.asarray(squares.sum(axis=1)).ravel()
