"""Encoded rows, kept ragged in blocks on disk, and the padded batches made of them.

Texts are encoded once. A block holds as many rows as fit `BLOCK_BYTES`; training holds one block
(all of a small data set) in memory, so that memory does not grow with the data.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bentos.text_classifier.encoding import Encoder, Inputs
from tasks.base.manifests import Dataset
from tasks.data.rows import Rows
from tasks.kinds.registry import KINDS

BLOCK_BYTES = 128 << 20


class Batch(NamedTuple):
    """`weights` float32 [examples]; targets as the kind of task has them."""

    inputs: Inputs
    targets: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Ragged:
    """Rows of different lengths, end to end: `values[name]` of `lengths` items a row, int64 `starts`."""

    values: dict[str, np.ndarray]
    lengths: np.ndarray
    starts: np.ndarray
    padding: int

    @classmethod
    def of(cls, arrays: Inputs, padding: int) -> "Ragged":
        """Cuts right-padded arrays of one shape; the first of them shows where a row ends."""
        ids = next(iter(arrays.values()))
        filled = ids != padding
        lengths = np.where(filled.any(axis=1), ids.shape[1] - filled[:, ::-1].argmax(axis=1), 0)
        kept = np.arange(ids.shape[1]) < lengths[:, None]
        return cls._from({name: array[kept] for name, array in arrays.items()}, lengths, padding)

    @classmethod
    def joined(cls, parts: Sequence["Ragged"]) -> "Ragged":
        values = {name: np.concatenate([part.values[name] for part in parts]) for name in parts[0].values}
        return cls._from(values, np.concatenate([part.lengths for part in parts]), parts[0].padding)

    @classmethod
    def _from(cls, values: dict[str, np.ndarray], lengths: np.ndarray, padding: int) -> "Ragged":
        return cls(values, lengths.astype(np.int64), np.concatenate([[0], np.cumsum(lengths)[:-1]]), padding)

    def padded(self, rows: np.ndarray, multiple: int = 1) -> Inputs:
        """The rows as arrays [rows, longest], the width rounded up to a multiple."""
        lengths = self.lengths[rows]
        width = max(int(lengths.max(initial=1)), 1)
        width = -(-width // multiple) * multiple
        places = np.arange(width)
        kept = places < lengths[:, None]
        indices = (self.starts[rows][:, None] + places)[kept]
        arrays: Inputs = {}
        for name, values in self.values.items():
            padding = self.padding if values.dtype.kind == "i" else 0
            arrays[name] = np.full((len(rows), width), padding, values.dtype)
            arrays[name][kept] = values[indices]
        return arrays


@dataclass(frozen=True)
class Block:
    """Encoded rows that fit in memory; one `Ragged` an encoder."""

    inputs: list[Ragged]
    targets: np.ndarray
    weights: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """What a row costs: its longest input."""
        return np.max([ragged.lengths for ragged in self.inputs], axis=0)

    def batch(self, rows: np.ndarray, multiple: int = 1) -> Batch:
        inputs: Inputs = {}
        for ragged in self.inputs:
            inputs |= ragged.padded(rows, multiple)
        return Batch(inputs, self.targets[rows], self.weights[rows])

    def shuffled(self, batch_size: int, generator: np.random.Generator, multiple: int = 1) -> Iterator[Batch]:
        """Every row once: shuffled, sorted by length within pools of 50 batches and cut, and the batches shuffled."""
        order = generator.permutation(len(self.targets))
        lengths = self.lengths
        batches: list[np.ndarray] = []
        for start in range(0, len(order), 50 * batch_size):
            pool = order[start : start + 50 * batch_size]
            pool = pool[np.argsort(lengths[pool], kind="stable")]
            batches.extend(pool[cut : cut + batch_size] for cut in range(0, len(pool), batch_size))
        for chosen in generator.permutation(len(batches)):
            yield self.batch(batches[int(chosen)], multiple)

    def save(self, path: Path) -> None:
        arrays = {"targets": self.targets, "weights": self.weights}
        for index, ragged in enumerate(self.inputs):
            arrays |= {f"{index}/values/{name}": values for name, values in ragged.values.items()}
            arrays |= {f"{index}/lengths": ragged.lengths, f"{index}/padding": np.array(ragged.padding)}
        with path.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Block":
        with np.load(path, allow_pickle=False) as stored:
            count = sum(name.endswith("/padding") for name in stored.files)
            inputs = []
            for index in range(count):
                prefix = f"{index}/values/"
                values = {name.removeprefix(prefix): stored[name] for name in stored.files if name.startswith(prefix)}
                ragged = Ragged._from(values, stored[f"{index}/lengths"], int(stored[f"{index}/padding"]))
                inputs.append(ragged)
            return cls(inputs, stored["targets"], stored["weights"])


class Examples:
    """One part of a data set, encoded; made by `encode`."""

    def __init__(self, files: list[Path], rows: list[int]) -> None:
        self.files = files
        self.block_rows = rows
        self._only = Block.load(files[0]) if len(files) == 1 else None

    def __len__(self) -> int:
        return sum(self.block_rows)

    def block(self, index: int) -> Block:
        return self._only or Block.load(self.files[index])

    def blocks(self) -> Iterator[Block]:
        """The blocks in the order of the rows."""
        for index in range(len(self.files)):
            yield self.block(index)

    @cached_property
    def targets(self) -> np.ndarray:
        """Those of every row in order."""
        return np.concatenate([_stored(file, "targets") for file in self.files])

    def epoch(self, batch_size: int, generator: np.random.Generator, multiple: int = 1) -> Iterator[Batch]:
        """Every row once, in random batches of rows of like length; the blocks in random order, one held at a time."""
        for index in generator.permutation(len(self.files)):
            yield from self.block(int(index)).shuffled(batch_size, generator, multiple)

    def steps(self, batch_size: int) -> int:
        """Batches an epoch."""
        return sum(-(-rows // batch_size) for rows in self.block_rows)


def encode(
    part: Iterable[tuple[Sequence[str], np.ndarray, np.ndarray]], encoders: Sequence[Encoder], folder: Path
) -> Examples:
    """Encodes a part into `folder`, unless a finished earlier call has.

    Args:
        part: texts, targets and weights, a few thousand rows at a time.
        encoders: every array that one gives has the same shape, padded on the right.
        folder: becomes a folder of blocks; appears only when it is complete.
    """
    if not folder.exists():
        unfinished = folder.with_name(folder.name + ".part")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        pending: list[Block] = []
        size = 0
        count = 0
        for texts, targets, weights in part:
            pending.append(encode_block(texts, targets, weights, encoders))
            size += sum(values.nbytes for ragged in pending[-1].inputs for values in ragged.values.values())
            size += targets.nbytes
            if size > BLOCK_BYTES:
                joined(pending).save(unfinished / f"{count:05}.npz")
                pending, size, count = [], 0, count + 1
        if pending:
            joined(pending).save(unfinished / f"{count:05}.npz")
        unfinished.rename(folder)
    files = sorted(folder.glob("*.npz"))
    return Examples(files, [len(_stored(file, "weights")) for file in files])


def encode_block(texts: Sequence[str], targets: np.ndarray, weights: np.ndarray, encoders: Sequence[Encoder]) -> Block:
    """Encodes rows that fit in memory."""
    inputs = []
    for encoder in encoders:
        padding = getattr(encoder, "settings", None)
        inputs.append(Ragged.of(encoder.encode(texts), getattr(padding, "pad_id", 0)))
    return Block(inputs, targets, weights.astype(np.float32))


def joined(blocks: Sequence[Block]) -> Block:
    """The rows of several blocks as one."""
    inputs = [Ragged.joined([block.inputs[index] for block in blocks]) for index in range(len(blocks[0].inputs))]
    return Block(
        inputs, np.concatenate([block.targets for block in blocks]), np.concatenate([block.weights for block in blocks])
    )


def _stored(file: Path, name: str) -> np.ndarray:
    """One array of a block's, without the others."""
    with np.load(file, allow_pickle=False) as arrays:
        return arrays[name]


def read_part(dataset: Dataset, part: str, rows: int = 4096) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
    """Texts, targets and weights of the `train`, `validation` or `test` part, some rows at a time."""
    for batch in Rows(getattr(dataset, part)).batches(rows):
        targets = batch["targets"]
        yield batch["texts"], targets.astype(np.float32) if targets.ndim > 1 else targets, batch["weights"]


def aligned_part(
    dataset: Dataset, part: str, encoders: Sequence[Encoder]
) -> Iterator[tuple[list[str], np.ndarray, np.ndarray]]:
    """The same with targets in the form that a model of these encoders learns."""
    align = KINDS[dataset.task].align
    for texts, targets, weights in read_part(dataset, part):
        yield texts, align(texts, targets, encoders, dataset.labels), weights


def encode_part(dataset: Dataset, part: str, encoders: Sequence[Encoder], folder: Path) -> Examples:
    """Encodes one part of a data set."""
    return encode(aligned_part(dataset, part, encoders), encoders, folder)


def training_texts(dataset: Dataset) -> Iterator[str]:
    """The texts of the training part, one after the other."""
    for batch in Rows(dataset.train).batches(4096, ["text"]):
        yield from batch["texts"]


def rows_of(dataset: Dataset, part: str, encoders: Sequence[Encoder] = ()) -> tuple[list[str], np.ndarray]:
    """Texts and targets of a part that fits in memory; tagging needs the model's `encoders` for its targets."""
    blocks = list(aligned_part(dataset, part, encoders))
    return [text for block in blocks for text in block[0]], np.concatenate([block[1] for block in blocks])


def filled(batch: Batch, rows: int) -> Batch:
    """The batch with copies of its first row, of weight 0, up to `rows` rows."""
    missing = rows - len(batch.weights)
    if missing <= 0:
        return batch
    inputs = {name: np.concatenate([array, array[:1].repeat(missing, axis=0)]) for name, array in batch.inputs.items()}
    targets = np.concatenate([batch.targets, batch.targets[:1].repeat(missing, axis=0)])
    return Batch(inputs, targets, np.concatenate([batch.weights, np.zeros(missing, np.float32)]))
