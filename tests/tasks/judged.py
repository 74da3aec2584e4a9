"""A split data set and a served variant for the tests of the judging stages, made in milliseconds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.base.manifests import Candidate, Dataset, Optimised, Profile, Variant
from tests.bentos.text_classifier.model_folder import WORDS, grams_folder, sentence

LABELS = list(WORDS)


def rows(count: int, seed: int, noise: float = 0.1) -> tuple[list[str], list[str]]:
    """Texts of the model folder's words and their labels, of which a share is wrong."""
    generator = np.random.default_rng(seed)
    truths = [LABELS[index] for index in generator.integers(len(LABELS), size=count)]
    texts = [f"{sentence(label, int(generator.integers(1, 6)))} {seed}-{row}" for row, label in enumerate(truths)]
    wrong = generator.random(count) < noise
    others = generator.integers(1, len(LABELS), size=count)
    labels = [
        LABELS[(LABELS.index(truth) + int(other)) % len(LABELS)] if is_wrong else truth
        for truth, other, is_wrong in zip(truths, others, wrong, strict=True)
    ]
    return texts, labels


def write_part(
    path: Path, texts: Sequence[str], labels: Sequence[Any], names: list[str], extra: dict[str, list[Any]] | None = None
) -> Path:
    """A part of a split as preprocessing leaves it; labels are names, or lists of them."""
    if labels and isinstance(labels[0], list):
        target = pa.array([[int(name in row) for name in names] for row in labels], pa.list_(pa.int8()))
    else:
        target = pa.array([names.index(label) for label in labels], pa.int32())
    columns = {"text": list(texts), "label": list(labels), "target": target, "weight": np.ones(len(texts), np.float32)}
    pq.write_table(pa.table(columns | {"group": list(texts)} | (extra or {})), path)
    return path


def dataset(
    folder: Path,
    parts: Mapping[str, tuple[Sequence[str], Sequence[Any]]],
    names: list[str] = LABELS,
    task: str = "single",
    extra: dict[str, list[Any]] | None = None,
) -> Dataset:
    """A split with these texts and labels by part; `extra` columns are of the test part."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {
        part: write_part(folder / f"{part}.parquet", *content, names, extra if part == "test" else None)
        for part, content in parts.items()
    }
    return Dataset(
        task=task,
        labels=names,
        train=paths["train"],
        validation=paths["validation"],
        test=paths["test"],
        rows={part: len(content[0]) for part, content in parts.items()},
        profile=Profile(scripts={"Latin": 1.0}, language="en", characters={}, tokens={}, total_tokens=0, imbalance=1.0),
        max_length=64,
        content="d" * 64,
    )


def noisy_dataset(folder: Path, test_rows: int = 400, noise: float = 0.1) -> Dataset:
    """Three even classes whose words give the right answer but for a share of wrong labels."""
    return dataset(
        folder, {"train": rows(600, 1, noise), "validation": rows(400, 2, noise), "test": rows(test_rows, 3, noise)}
    )


def variant(folder: Path, **changes: Any) -> Variant:
    """The model folder as the picked variant."""
    values = {
        "name": "float32",
        "folder": folder,
        "size_bytes": 1000,
        "accuracy": 0.9,
        "per_class_recall": {},
        "latency_ms": {"1": 0.2, "32": 1.0},
        "throughput": {"1": 5000.0, "32": 32000.0},
        "picked": True,
    }
    return Variant(**values | changes)


def served(folder: Path) -> Variant:
    """A small real model folder as the picked variant."""
    return variant(grams_folder(folder))


def optimised(picked: Variant) -> Optimised:
    return Optimised(picked=picked, variants=[picked], content="o" * 64)


def candidate(folder: Path, name: str = "bag", **changes: Any) -> Candidate:
    """A trained candidate; without `validation.npy` unless the test writes it."""
    values = {
        "name": name,
        "folder": folder,
        "score": 0.9,
        "error": 0.01,
        "seconds": 1.0,
        "parameters": 100,
        "size_bytes": 1000,
        "latency_ms": 1.0,
        "content": "c" * 64,
    }
    return Candidate(**values | changes)
