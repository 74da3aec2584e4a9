"""What private training computes, and what an attacker learns from it."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from bentos.text_classifier.decoding import softmax
from bentos.text_classifier.manifest import Manifest, Privacy
from tasks.base.settings import PrivacySettings
from tasks.learning.backend import tf
from tasks.learning.privacy import guarantee, secret_uniform
from tasks.learning.private_training import BIAS, Rows, clipped_sum, train_privately

UNUSED = Manifest(labels=[], encoders=[])


def scores(logits: np.ndarray) -> np.ndarray:
    return softmax(logits, UNUSED)


def made_rows(count: int, features: int, labels: int, seed: int, noise: float = 1.0) -> Rows:
    """Rows of length one whose label is the nearest of as many directions, as far as `noise` leaves it so."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((labels, features))
    targets = generator.integers(labels, size=count)
    values = centres[targets] + noise * generator.standard_normal((count, features))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    ones = np.ones(count, np.float32)
    return Rows(values.astype(np.float32), np.eye(labels, dtype=np.float32)[targets], ones)


def without_noise(rate: float, steps: int) -> Privacy:
    return Privacy(epsilon=np.inf, delta=0.0, noise=0.0, clip=1e9, rate=rate, steps=steps)


@pytest.mark.parametrize("clip", [0.3, 100.0])
def test_the_clipped_sum_is_that_of_the_gradients_one_by_one(clip):
    rows = made_rows(20, 6, 3, seed=1)
    weights = tf.Variable(tf.constant(np.random.default_rng(2).standard_normal((7, 3)), tf.float32))
    inputs = np.hstack([rows.features, np.full((20, 1), BIAS, np.float32)])
    with tf.GradientTape() as tape:
        losses = tf.nn.softmax_cross_entropy_with_logits(rows.targets, inputs @ weights)
    each = tape.jacobian(losses, weights).numpy()
    norms = np.linalg.norm(each.reshape(20, -1), axis=1)
    assert (norms > 0.3).any()
    wanted = (each * np.minimum(1.0, clip / norms)[:, None, None]).sum(axis=0)
    errors = scores(inputs @ weights.numpy()) - rows.targets
    lengths = np.linalg.norm(inputs, axis=1)
    for features in (rows.features, csr_matrix(rows.features)):
        np.testing.assert_allclose(clipped_sum(features, errors, lengths, clip), wanted, atol=1e-5)


def test_no_row_however_odd_moves_a_step_by_more_than_the_clip():
    rows = made_rows(10, 5, 3, seed=3)
    features = np.array(rows.features)
    features[4] *= 1e4
    errors = 50.0 * (scores(features @ np.ones((5, 3), np.float32)) - rows.targets)
    lengths = np.sqrt((features**2).sum(axis=1) + BIAS**2)
    with_all = clipped_sum(features, errors, lengths, 0.5)
    for row in range(10):
        others = np.delete(np.arange(10), row)
        moved = np.linalg.norm(with_all - clipped_sum(features[others], errors[others], lengths[others], 0.5))
        assert moved <= 0.5 * (1 + 1e-4)


def test_a_private_model_learns():
    rows, others = made_rows(2_000, 20, 4, seed=4), made_rows(500, 20, 4, seed=5)
    privacy = guarantee(PrivacySettings(epsilon=3.0), 2_000, 0.5, 60)
    found = train_privately(rows, scores, privacy, 20.0, secret_uniform())
    right = (others.features @ found.table + found.bias).argmax(axis=1) == others.targets.argmax(axis=1)
    free = train_privately(rows, scores, without_noise(0.5, 60), 20.0, secret_uniform())
    freely = (others.features @ free.table + free.bias).argmax(axis=1) == others.targets.argmax(axis=1)
    assert right.mean() > freely.mean() - 0.1
    assert right.mean() > 0.6


def loss_advantage(train: Callable[[Rows], np.ndarray]) -> float:
    """How far an attacker who calls a row a member when its loss is small (Yeom et al. 2018) does better than
    guessing: his true positive rate less his false positive rate, at the best threshold."""
    rows = made_rows(600, 400, 4, seed=6, noise=50.0)
    half = Rows(rows.features[:300], rows.targets[:300], rows.weights[:300])
    logits = train(half)
    losses = -np.log(np.maximum((scores(rows.features @ logits) * rows.targets).sum(axis=1), 1e-12))
    thresholds = np.sort(losses)
    return float(max((losses[:300] <= cut).mean() - (losses[300:] <= cut).mean() for cut in thresholds))


def test_membership_shows_in_an_overfit_model_and_not_in_a_private_one():
    def openly(rows: Rows) -> np.ndarray:
        return train_privately(rows, scores, without_noise(1.0, 200), 50.0, secret_uniform()).table

    def privately(rows: Rows) -> np.ndarray:
        privacy = guarantee(PrivacySettings(epsilon=1.0), len(rows.targets), 1.0, 200)
        return train_privately(rows, scores, privacy, 50.0, secret_uniform()).table

    assert loss_advantage(openly) > 0.9
    # The best of 600 thresholds shows about 0.1 where there is nothing to see.
    assert loss_advantage(privately) < 0.2


def test_an_attacker_who_knows_every_other_row_learns_no_more_than_epsilon_allows():
    """The strongest attack there is on one row: a likelihood test on the model, with and without that row."""
    rows = made_rows(40, 10, 2, seed=7)
    odd = Rows(
        np.vstack([rows.features, 10 * np.eye(1, 10, dtype=np.float32)]),
        np.vstack([rows.targets, [[1.0, 0.0]]]).astype(np.float32),
        np.ones(41, np.float32),
    )

    def advantage(privacy: Privacy, runs: int = 300) -> float:
        def signs(data: Rows) -> np.ndarray:
            found = [train_privately(data, scores, privacy, 1.0, secret_uniform()).table for _ in range(runs)]
            return np.array([table[0, 0] - table[0, 1] for table in found])

        with_row, without = signs(odd), signs(rows)
        cuts = np.sort(np.concatenate([with_row, without]))
        return float(max((with_row >= cut).mean() - (without >= cut).mean() for cut in cuts))

    epsilon = 0.5
    allowed = (np.exp(epsilon) - 1) / (np.exp(epsilon) + 1)
    assert advantage(guarantee(PrivacySettings(epsilon=epsilon), 40, 1.0, 20)) < allowed + 0.15
    assert advantage(Privacy(np.inf, 0.0, 0.001, 1.0, 1.0, 20), runs=50) > 0.95
