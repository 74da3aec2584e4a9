"""How fast this machine is, beside the one on which the costs of the model structures were taken."""

import shutil
import time
from pathlib import Path

import numpy as np

from bentos.serving.cpus import allowed_cpus
from bentos.text_classifier.model import TextModel

REFERENCE_SECONDS = 0.0031
"""Of the work below on one undisturbed core of the reference machine."""

_ROUNDS = 7

_SHARED = 0.75
"""How much of a second core's work is gained where TensorFlow uses it."""


def shared_cores() -> float:
    """How many times a core's work TensorFlow does in a second here; more than two cores hardly add to small models."""
    return 1.0 + _SHARED * (min(allowed_cpus(), 2) - 1)


def has_gpu() -> bool:
    """Whether this machine has an NVIDIA driver, which is asked without loading TensorFlow."""
    return shutil.which("nvidia-smi") is not None


def machine_speed() -> float:
    """1.0 on the reference machine when nothing else runs; takes about a tenth of a second there.

    The work is what training is made of: products of matrices, rows gathered from a large table, and
    Python's strings and dictionaries. Time of the processor counts, so that what else runs here just now does
    not decide which models are tried.
    """
    generator = np.random.default_rng(0)
    # Small, so that one thread computes them.
    matrices = generator.standard_normal((64, 64, 64), np.float32)
    table = generator.standard_normal((50_000, 64), np.float32)
    rows = generator.integers(len(table), size=20_000)
    words = [f"word {number % 500}" for number in range(20_000)]
    seconds = []
    for _ in range(_ROUNDS):
        started = time.thread_time()
        table[rows].sum(axis=0)
        np.matmul(matrices, matrices)
        counts: dict[str, int] = {}
        for word in words:
            counts[word] = counts.get(word, 0) + 1
        seconds.append(time.thread_time() - started)
    return REFERENCE_SECONDS / min(seconds)


def open_model(folder: Path) -> TextModel:
    """The model folder opened for a whole part of a data set: on every CPU that may be used."""
    return TextModel.load(folder, threads=allowed_cpus())
