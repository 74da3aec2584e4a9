"""Parquet: streamed by row group with pyarrow."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.base.errors import InputError
from tasks.data.sources import Reading
from tasks.data.sources.batches import Batcher
from tasks.data.sources.columns import find_columns
from tasks.data.sources.opening import File, open_bytes

MAGIC = b"PAR1"


def read(file: File, reading: Reading) -> Iterator[pa.RecordBatch]:
    """Batches of `reading.schema`; `line` is the row's number from 1.

    Raises:
        InputError: the file is cut off or damaged, or a column is missing.
    """
    with open_bytes(file) as stream:
        try:
            parquet = pq.ParquetFile(stream)
        except pa.ArrowException as error:
            raise InputError(f"{file.name}: the Parquet file is cut off or damaged; copy it again.") from error
        columns = find_columns(parquet.schema_arrow.names, reading.settings, file.name, reading.labelled)
        reading.text_column, reading.label_column = columns.text_name, columns.label_name
        chosen = [columns.names[index] for index in (columns.text, columns.label, *columns.extra)]
        line = 1
        try:
            for batch in parquet.iter_batches(
                batch_size=20_000, columns=list(dict.fromkeys(chosen)), use_threads=False
            ):
                yield from _converted(batch, chosen, line, Batcher(reading, file.name))
                line += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{file.name}, after row {line - 1}: the Parquet file is damaged; copy it again."
            ) from error


def _converted(batch: pa.RecordBatch, chosen: list[str], line: int, batcher: Batcher) -> Iterator[pa.RecordBatch]:
    columns = [batch.column(name) for name in chosen]
    if all(_plain(column.type) for column in columns):
        size = batch.num_rows
        text, label, *extra = (pc.cast(column, pa.large_string()) for column in columns)
        arrays = [
            text,
            label,
            pa.nulls(size, pa.string()),
            pa.repeat(pa.scalar(batcher.source), size),
            pa.array(range(line, line + size), pa.int64()),
            pa.nulls(size, pa.string()),
            *(pc.cast(column, pa.string()) for column in extra),
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=batcher.schema)
        return
    for offset, values in enumerate(zip(*(column.to_pylist() for column in columns), strict=True)):
        batcher.add(line + offset, values[0], values[1], values[2:])
        if batcher.full():
            yield from batcher.flush()
    yield from batcher.flush()


def _plain(kind: pa.DataType) -> bool:
    """Whether Arrow's own cast gives the value's usual spelling."""
    if isinstance(kind, pa.DictionaryType):
        return _plain(kind.value_type)
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in (*tests, pa.types.is_integer, pa.types.is_boolean, pa.types.is_null))
