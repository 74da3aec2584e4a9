import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import kstest, norm

from tasks.base.settings import PrivacySettings
from tasks.learning.privacy import guarantee, normal, secret_uniform, spent


@pytest.mark.parametrize(
    ("noise", "epochs", "published"),
    # The three settings for MNIST in the readme of TensorFlow Privacy: 60,000 rows in lots of 256, delta 1e-5.
    [(1.3, 15, 1.19), (1.1, 60, 3.01), (0.7, 45, 7.10)],
)
def test_the_accountant_agrees_with_published_figures(noise, epochs, published):
    rate = 256 / 60_000
    found = spent(noise, rate, int(epochs / rate), 1e-5)
    # The conversion to (epsilon, delta) has since become tighter (Canonne, Kamath and Steinke 2020).
    assert 0.75 * published < found <= published


@pytest.mark.parametrize("noise", [0.8, 2.0, 6.0])
def test_without_sampling_it_lies_just_above_the_exact_gaussian(noise):
    delta, steps = 1e-5, 40
    deviation = noise / steps**0.5

    def excess(epsilon: float) -> float:
        # Balle and Wang (2018), theorem 8, for sensitivity 1.
        half, whole = 1 / (2 * deviation), epsilon * deviation
        return float(norm.cdf(half - whole) - np.exp(epsilon + norm.logcdf(-half - whole)) - delta)

    exact = float(brentq(excess, 1e-6, 500))  # pyright: ignore[reportArgumentType] (full_output is off)
    assert exact <= spent(noise, 1.0, steps, delta) <= 1.15 * exact + 0.1


def test_the_noise_just_keeps_the_budget():
    for epsilon in (0.5, 3.0, 8.0):
        found = guarantee(PrivacySettings(epsilon=epsilon), 5_000, 0.2, 50)
        assert 0.99 * epsilon < found.epsilon <= epsilon
        assert spent(0.98 * found.noise, 0.2, 50, found.delta) > epsilon


def test_delta_follows_from_the_rows_when_it_is_not_given():
    assert guarantee(PrivacySettings(epsilon=8.0), 10_000, 1.0, 10).delta == pytest.approx(10_000**-1.1)
    assert guarantee(PrivacySettings(epsilon=8.0, delta=1e-7), 10_000, 1.0, 10).delta == 1e-7


def test_a_tighter_budget_more_steps_and_larger_lots_need_more_noise():
    def noise(epsilon: float = 8.0, rate: float = 0.1, steps: int = 50) -> float:
        return guarantee(PrivacySettings(epsilon=epsilon), 10_000, rate, steps).noise

    least = noise()
    assert noise(epsilon=3.0) > least
    assert noise(steps=200) > least
    assert noise(rate=0.5) > least


def test_the_noise_is_normal_and_never_the_same_twice():
    first, second = (normal(secret_uniform(), (200, 100)) for _ in range(2))
    assert first.dtype == np.float32
    assert kstest(first.ravel(), "norm").pvalue > 1e-6
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05
