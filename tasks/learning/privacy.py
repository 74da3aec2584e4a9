"""The noise that a privacy budget asks for, and where it comes from.

The accountant is Rényi differential privacy (Mironov 2017; for sampled rows Mironov, Talwar and Zhang 2019),
for neighbouring data that differ by one row more or less.
"""

import os
from collections.abc import Callable

import dp_accounting
import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from dp_accounting.rdp import RdpAccountant
from scipy.special import ndtri

from bentos.text_classifier.manifest import Privacy
from tasks.base.settings import PrivacySettings

DELTA_POWER = 1.1
_TOLERANCE = 1e-3

Uniform = Callable[[int], np.ndarray]
"""So many random numbers above 0 and below 1, float64."""


def guarantee(settings: PrivacySettings, rows: int, rate: float, steps: int) -> Privacy:
    """The least noise that keeps `steps` steps over `rows` rows within the budget.

    Args:
        rate: probability with which a step takes each row.
    """
    assert settings.epsilon is not None
    delta = settings.delta or min(rows**-DELTA_POWER, 0.5)
    noise = dp_accounting.calibrate_dp_mechanism(
        RdpAccountant,
        lambda noise: _event(noise, rate, steps),
        settings.epsilon,
        delta,
        dp_accounting.LowerEndpointAndGuess(0.05, 1.0),
        tol=_TOLERANCE,
    )
    return Privacy(spent(noise, rate, steps, delta), delta, float(noise), settings.clip, rate, steps)


def spent(noise: float, rate: float, steps: int, delta: float) -> float:
    """The epsilon of `steps` Gaussian mechanisms with this noise multiplier, each over sampled rows."""
    return float(RdpAccountant().compose(_event(noise, rate, steps)).get_epsilon(delta))


def _event(noise: float, rate: float, steps: int) -> dp_accounting.DpEvent:
    step = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
    return dp_accounting.SelfComposedDpEvent(step, steps)


def secret_uniform() -> Uniform:
    """Random numbers that no seed gives again, since who can repeat the noise can take it away.

    They are the key stream of AES-256 in counter mode under a key of the operating system, 52 bits each.
    """
    stream = Cipher(AES(os.urandom(32)), CTR(os.urandom(16))).encryptor()

    def draw(count: int) -> np.ndarray:
        bits = np.frombuffer(stream.update(bytes(8 * count)), np.uint64) >> np.uint64(12)
        return (bits.astype(np.float64) + 0.5) * 2.0**-52

    return draw


def normal(uniform: Uniform, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal numbers, float32, by the inverse of their distribution."""
    return ndtri(uniform(int(np.prod(shape)))).astype(np.float32).reshape(shape)
