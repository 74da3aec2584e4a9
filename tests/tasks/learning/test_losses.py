"""Losses against their definitions."""

from typing import Any

import numpy as np
import pytest

from tasks.kinds.tagging import UNTAGGED
from tasks.learning.backend import tf
from tasks.learning.losses import LOSSES, LossSettings

LOGITS = tf.constant([[2.0, 0.0, -1.0], [0.1, 0.2, 0.3]])
PRIOR = np.array([0.7, 0.2, 0.1], np.float32)


def loss(name: str, form: str, targets: Any, smoothing: float = 0.0, *, balanced: bool = False) -> np.ndarray:
    settings = LossSettings(form, PRIOR, smoothing, balanced)  # type: ignore[arg-type]
    return LOSSES[name](settings)(tf.constant(targets), LOGITS).numpy()


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_cross_entropy_of_one_label_hard_or_soft() -> None:
    expected = -log_softmax(LOGITS.numpy())[[0, 1], [0, 2]]
    assert loss("softmax", "cross_entropy", [0, 2]) == pytest.approx(expected, rel=1e-5)
    soft = loss("softmax", "cross_entropy", [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert soft == pytest.approx(expected, rel=1e-5)


def test_smoothing_mixes_in_the_uniform_distribution() -> None:
    shares = log_softmax(LOGITS.numpy())
    expected = -(0.9 * shares[[0, 1], [0, 2]] + 0.1 * shares.mean(axis=1))
    assert loss("softmax", "cross_entropy", [0, 2], smoothing=0.1) == pytest.approx(expected, rel=1e-5)


def test_focal_fades_out_what_is_sure() -> None:
    shares = log_softmax(LOGITS.numpy())[[0, 1], [0, 2]]
    assert loss("softmax", "focal", [0, 2]) == pytest.approx(-shares * (1 - np.exp(shares)) ** 2, rel=1e-5)


def test_logit_adjustment_makes_a_rare_label_cost_more() -> None:
    expected = -log_softmax(LOGITS.numpy() + np.log(PRIOR))[[0, 1], [0, 2]]
    assert loss("softmax", "logit_adjusted", [0, 2]) == pytest.approx(expected, rel=1e-5)


def test_several_labels_take_the_mean_binary_cross_entropy() -> None:
    targets = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], np.float32)
    chances = 1 / (1 + np.exp(-LOGITS.numpy()))
    right = np.where(targets > 0, chances, 1 - chances)
    assert loss("sigmoid", "cross_entropy", targets) == pytest.approx(-np.log(right).mean(axis=1), rel=1e-5)
    focal = -(np.log(right) * (1 - right) ** 2).mean(axis=1)
    assert loss("sigmoid", "focal", targets) == pytest.approx(focal, rel=1e-5)


def test_balanced_labels_count_alike_whether_they_are_there_or_not() -> None:
    targets = np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], np.float32)
    chances = 1 / (1 + np.exp(-LOGITS.numpy()))
    losses = -np.log(np.where(targets > 0, chances, 1 - chances))
    weights = 0.5 / np.where(targets > 0, PRIOR, 1 - PRIOR)
    balanced = loss("sigmoid", "cross_entropy", targets, balanced=True)
    assert balanced == pytest.approx((losses * weights).mean(axis=1), rel=1e-5)


def test_balanced_tags_count_alike_and_one_that_never_occurs_harms_nothing() -> None:
    prior = np.array([0.8, 0.2, 0.0], np.float32)
    logits = np.stack([LOGITS.numpy(), LOGITS.numpy()[::-1]])
    codes = np.array([[0, 1], [0, UNTAGGED]], np.int32)
    losses = LOSSES["token_softmax"](LossSettings("cross_entropy", prior, balanced=True))(
        tf.constant(codes), tf.constant(logits)
    )
    first, second = -log_softmax(logits[0])[[0, 1], [0, 1]] / (2 * prior[:2])
    third = -log_softmax(logits[1])[0, 0] / (2 * 0.8)
    assert losses.numpy() == pytest.approx([(first + second) / 2, third], rel=1e-5)
