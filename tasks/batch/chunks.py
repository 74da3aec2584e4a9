"""From a source to chunks of rows whose borders depend on nothing but the rows."""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from tasks.base.settings import SourceSettings
from tasks.data.sources import Reading, source_of

CHUNK_CHARACTERS = 4_000_000
"""A chunk ends early when its texts hold more, so that long texts do not fill the memory."""


@contextmanager
def read_chunks(settings: SourceSettings, rows: int) -> Iterator[tuple[Iterator[pa.Table], Reading]]:
    """The source's rows as tables of at most `rows` rows, and what is found out while they are read.

    The columns are source, line, text, reason (why a row cannot be read) and the extra columns.
    """
    with tempfile.TemporaryDirectory(prefix="batch-") as scratch:
        reading = Reading(settings, Path(scratch), labelled=False)
        columns = ["source", "line", *settings.extra_columns, "text", "reason"]
        batches = (batch.select(columns) for batch in source_of(settings.source).read(reading))
        yield rechunked(batches, rows), reading


def rechunked(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The same rows, cut after `rows` rows or before `CHUNK_CHARACTERS` are passed, however they came."""
    held: list[pa.RecordBatch] = []
    count = characters = 0
    for batch in batches:
        while batch.num_rows:
            taken, size = _fitting(batch, rows - count, CHUNK_CHARACTERS - characters, empty=not count)
            held.append(batch.slice(0, taken))
            count, characters = count + taken, characters + size
            batch = batch.slice(taken)
            if batch.num_rows or count == rows:
                yield pa.Table.from_batches([part for part in held if part.num_rows])
                held, count, characters = [], 0, 0
    if count:
        yield pa.Table.from_batches(held)


def _fitting(batch: pa.RecordBatch, rows: int, characters: int, *, empty: bool) -> tuple[int, int]:
    """How many of the first rows fit, and their characters; one at least where the chunk is `empty`."""
    lengths = pc.fill_null(pc.utf8_length(batch.column("text").slice(0, rows)), 0)
    sums = pc.cumulative_sum(lengths.cast(pa.int64())).to_numpy()
    taken = max(int((sums <= characters).sum()), int(empty))
    return taken, int(sums[taken - 1]) if taken else 0


def digest(chunk: pa.Table, key: str) -> str:
    """What a chunk's answers depend on, as 24 hexadecimal digits: its rows, and `key` for all else."""
    found = hashlib.sha256(key.encode())
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, chunk.schema) as stream:
        # Slices of a larger batch are written with their own rows only, so equal rows have equal bytes.
        stream.write_table(chunk.combine_chunks())
    found.update(sink.getvalue())
    return found.hexdigest()[:24]
