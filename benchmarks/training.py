"""What does the training loop cost, and what do length buckets, compilation and bfloat16 save?

The same network (embedding, convolutions, maximum) learns the same synthetic rows under a bare Keras
`fit`, which pads every row to the longest, and under the project's loop. On rows of one length only
the loop differs; on ragged rows (log-normal, a few long ones, as real texts are) the buckets do.
Seconds are of one epoch, the median of those after the first, in which graphs are traced. Tokenising
is timed on its own.

    python -m benchmarks.training
    python -m benchmarks.training --rows 2000 --repeats 1
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import tasks.learning.training
from bentos.text_classifier.encoding import TokenEncoder
from tasks.base.manifests import Dataset, Profile
from tasks.base.settings import TrainSettings
from tasks.learning.backend import keras, ops
from tasks.learning.examples import training_texts
from tasks.learning.job import Job
from tasks.learning.recipe import Recipe
from tasks.learning.tokenisers import fit_tokeniser
from tasks.learning.training import fit

WORDS = 5000
LABELS = 4
LONGEST = 128
BATCH = 64
EPOCHS = 5


def lengths(kind: str, rows: int, random: np.random.Generator) -> np.ndarray:
    if kind == "even":
        return np.full(rows, 32)
    drawn = np.clip(random.lognormal(np.log(12.0), 0.7, rows), 1, LONGEST).astype(int)
    drawn[0] = LONGEST
    return drawn


def write(folder: Path, kind: str, rows: int) -> Dataset:
    """Rows of made-up words, the label told by the first of them."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(3)
    paths = {}
    for part, count in (("train", rows), ("validation", 64), ("test", 64)):
        drawn = [random.zipf(1.3, length) % WORDS for length in lengths(kind, count, random)]
        columns = {
            "text": [" ".join(f"w{word}" for word in words) for words in drawn],
            "target": pa.array([int(words[0]) % LABELS for words in drawn], pa.int32()),
            "weight": np.ones(count, np.float32),
        }
        paths[part] = folder / f"{part}.parquet"
        pq.write_table(pa.table(columns), paths[part])
    profile = Profile(scripts={"Latin": 1.0}, language="en", characters={}, tokens={}, total_tokens=0, imbalance=1.0)
    labels = [str(label) for label in range(LABELS)]
    sizes = {"train": rows, "validation": 64, "test": 64}
    return Dataset(
        task="single", labels=labels, **paths, rows=sizes, profile=profile, max_length=2 * LONGEST, content=kind
    )


def network(encoder: TokenEncoder) -> keras.Model:
    ids = keras.Input((None,), dtype="int32", name=encoder.settings.name)
    values = keras.layers.Embedding(encoder.tokenizer.get_vocab_size(), 128)(ids)
    found = [keras.layers.Conv1D(100, size, padding="same", activation="relu")(values) for size in (3, 4, 5)]
    pooled = keras.layers.GlobalMaxPooling1D()(ops.concatenate(found, axis=-1))
    logits = keras.layers.Dense(LABELS, dtype="float32", name="logits")(keras.layers.Dropout(0.5)(pooled))
    return keras.Model({encoder.settings.name: ids}, logits)


@dataclass(frozen=True)
class Seconds:
    """Of an epoch, the median over all but the first: by the clock, and of all processors together."""

    wall: float
    processor: float

    @classmethod
    def between(cls, marks: list[tuple[float, float]]) -> "Seconds":
        """From the clocks at the end of each epoch."""
        wall, processor = np.median(np.diff(np.array(marks), axis=0), axis=0)
        return cls(float(wall), float(processor))


def clocks() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def bare_fit(dataset: Dataset, encoder: TokenEncoder) -> Seconds:
    """Keras' own `fit`, over rows that were encoded and padded beforehand."""
    table = pq.read_table(dataset.train)
    inputs = encoder.encode(table.column("text").to_pylist())
    model = network(encoder)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(1e-3), loss)
    ends: list[tuple[float, float]] = []
    clock = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: ends.append(clocks()))
    targets: Any = table.column("target").to_numpy()
    model.fit(inputs, targets, BATCH, EPOCHS, verbose=0, callbacks=[clock])  # type: ignore[arg-type]
    return Seconds.between(ends)


def own_loop(dataset: Dataset, encoder: TokenEncoder, scratch: Path, **settings: Any) -> Seconds:
    """The project's loop, its evaluation on 64 rows and its checkpoint after each epoch included."""
    ends: list[tuple[float, float]] = []

    def progress(share: float, text: str) -> None:
        if share >= (len(ends) + 1) / EPOCHS:
            ends.append(clocks())

    recipe = Recipe(epochs=EPOCHS, batch_size=BATCH, learning_rate=1e-3, clip=None, patience=99)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        job = Job(dataset, Path(folder), TrainSettings(**settings), "standard", 1, progress=progress)
        fit(job, lambda: network(encoder), [encoder], recipe)
    return Seconds.between(ends)


def tokenising(encoder: TokenEncoder, dataset: Dataset) -> float:
    """Short texts a second, the cleaning included, by an encoder that has met none of their words."""
    texts = [" ".join(text.split()[:12]) for text in training_texts(dataset)]
    seconds, written = [], encoder.dump()
    for _ in range(5):
        encoder = TokenEncoder.load(encoder.settings, lambda name: written)
        began = time.perf_counter()
        for start in range(0, len(texts), 1024):
            encoder.encode(texts[start : start + 1024])
        seconds.append(time.perf_counter() - began)
    return len(texts) / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3, help="the median of so many is shown")
    parser.add_argument("--json", type=Path, default=Path("data/runs/benchmarks/training.json"))
    options = parser.parse_args()
    # Progress at every step tells when an epoch ends.
    tasks.learning.training.REPORT_SECONDS = 0.0
    lines: list[dict[str, Any]] = []
    print(f"{'rows':8}{'training':24}{'s an epoch':>12}{'CPU s':>9}{'x bare fit':>12}")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        speed = 0.0
        for kind in ("even", "ragged"):
            dataset = write(scratch / kind, kind, options.rows)
            encoder = fit_tokeniser(training_texts(dataset), size=20_000, max_length=dataset.max_length)
            speed = tokenising(encoder, dataset)
            ways: dict[str, Callable[[], Seconds]] = {
                "bare Keras fit": partial(bare_fit, dataset, encoder),
                "own loop": partial(own_loop, dataset, encoder, scratch),
                "own loop, XLA": partial(own_loop, dataset, encoder, scratch, xla="on"),
                "own loop, bfloat16": partial(own_loop, dataset, encoder, scratch, mixed_precision="on"),
            }
            found: dict[str, list[Seconds]] = {name: [] for name in ways}
            # By turns, so that what else the machine does meets all alike.
            for _ in range(options.repeats):
                for name, way in ways.items():
                    found[name].append(way())
            bare = statistics.median(each.wall for each in found["bare Keras fit"])
            for name, each in found.items():
                wall = statistics.median(one.wall for one in each)
                processor = statistics.median(one.processor for one in each)
                lines.append(
                    {"rows": kind, "training": name, "wall": wall, "processor": processor, "against_fit": bare / wall}
                )
                print(f"{kind:8}{name:24}{wall:12.3f}{processor:9.3f}{bare / wall:12.2f}")
    print(f"tokenising: {speed:,.0f} short texts a second")
    figures = {"rows": options.rows, "tokenising": speed, "lines": lines}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
