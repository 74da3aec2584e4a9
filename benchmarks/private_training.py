"""What differential privacy costs a step of training.

    python -m benchmarks.private_training [--rounds N] [--json FILE]

The step of `tasks/learning/private_training.py` over all rows, on made-up features of the sizes of `banking77`
(vectors of the encoder, 77 classes) and of 40,000 texts by hashed n-grams (10 classes), in four ways: the plain
gradient; every row's gradient clipped, as one product of matrices; clipped with noise, as it is used; and, over some
of the rows, with every row's gradient made by TensorFlow's vectorised jacobian before it is clipped."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse

from tasks.learning.privacy import normal, secret_uniform
from tasks.learning.private_training import BIAS, clipped_sum

MADE_ROWS = 256
"""Rows whose gradients are made one by one: all of them would not fit the memory."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="steps of which the median is told")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    generator = np.random.default_rng(3)
    dense = generator.standard_normal((10_000, 384)).astype(np.float32)
    dense /= np.linalg.norm(dense, axis=1, keepdims=True)
    grams: Any = scipy.sparse.random(40_000, 1 << 16, 30 / (1 << 16), "csr", np.float32, generator)
    rows = [*_steps("vectors", dense, 77, options.rounds), *_steps("hashed n-grams", grams, 10, options.rounds)]
    print("| features | step | ms | times the plain one |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row['features']} | {row['step']} | {row['ms']:,.1f} | {row['times']:.2f} |")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


def _steps(name: str, features: Any, labels: int, rounds: int) -> list[dict[str, Any]]:
    count, width = features.shape
    targets = np.eye(labels, dtype=np.float32)[np.arange(count) % labels]
    weights = np.zeros((width, labels), np.float32)
    lengths = np.full(count, np.sqrt(1 + BIAS**2))
    uniform = secret_uniform()

    def errors() -> np.ndarray:
        logits = np.asarray(features @ weights)
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True) - targets

    def noisy() -> np.ndarray:
        total = clipped_sum(features, errors(), lengths, 1.0)
        return total + normal(uniform, total.shape)

    ways: dict[str, Callable[[], object]] = {
        "plain gradient": lambda: np.asarray(features.T @ errors()),
        "every row clipped": lambda: clipped_sum(features, errors(), lengths, 1.0),
        "clipped, with noise": noisy,
    }
    if isinstance(features, np.ndarray):
        ways["every row's gradient made"] = _made(features, targets)
    took: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, work in ways.items():
            started = time.perf_counter()
            work()
            if number:  # first times are over
                took[way].append(time.perf_counter() - started)
    plain = took["plain gradient"]
    rows = []
    for way, seconds in took.items():
        times = statistics.median(one / other for one, other in zip(seconds, plain, strict=True))
        share = count / MADE_ROWS if way == "every row's gradient made" else 1
        rows.append(
            {"features": name, "step": way, "ms": 1e3 * share * statistics.median(seconds), "times": share * times}
        )
    return rows


def _made(features: np.ndarray, targets: np.ndarray) -> Callable[[], object]:
    import tensorflow as tf

    weights = tf.Variable(tf.zeros((features.shape[1], targets.shape[1])))

    @tf.function
    def step(inputs: Any, truths: Any) -> Any:
        with tf.GradientTape() as tape:
            losses = tf.nn.softmax_cross_entropy_with_logits(truths, inputs @ weights)
        each = tape.jacobian(losses, weights)
        norms = tf.sqrt(tf.reduce_sum(each**2, axis=[1, 2], keepdims=True))
        return tf.reduce_sum(each * tf.minimum(1.0, 1.0 / norms), axis=0)

    inputs, truths = tf.constant(features[:MADE_ROWS]), tf.constant(targets[:MADE_ROWS])
    return lambda: step(inputs, truths).numpy()


if __name__ == "__main__":
    main()
