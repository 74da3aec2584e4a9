"""Tables of Arrow's types: Parquet, Arrow IPC (of which Feather is a name) and Arrow streams."""

import json
from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.base.errors import InputError
from tasks.data.sources import Reading
from tasks.data.sources.batches import Batcher
from tasks.data.sources.columns import SAMPLE_ROWS, Columns, find_columns
from tasks.data.sources.formats import BinaryFormat, register
from tasks.data.sources.opening import File, open_bytes

_ROWS = 20_000


def read_parquet(file: File, reading: Reading) -> Iterator[pa.RecordBatch]:
    """Batches of `reading.schema`, streamed by row group; `line` is the row's number from 1.

    Raises:
        InputError: the file is cut off or damaged, or a column is missing.
    """
    with open_bytes(file) as stream:
        try:
            parquet = pq.ParquetFile(stream)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file.name}: the Parquet file is cut off or damaged; copy it again.") from error
        columns = _columns(parquet.schema_arrow, _first(parquet), file, reading)
        needed = [name for name in _chosen(columns) if name in parquet.schema_arrow.names]
        batches = parquet.iter_batches(_ROWS, columns=list(dict.fromkeys(needed)), use_threads=False)
        yield from _all(batches, columns, "Parquet", file, reading)


def _first(parquet: pq.ParquetFile) -> pa.RecordBatch | None:
    light = [name for name, kind in zip(*_fields(parquet.schema_arrow), strict=True) if _light(kind)]
    try:
        return next(parquet.iter_batches(SAMPLE_ROWS, columns=light, use_threads=False), None)
    except (pa.ArrowException, OSError):
        # Reading the rows will say what is wrong, and where, unless the damage is in a column that is not used.
        return None


def read_ipc(file: File, reading: Reading) -> Iterator[pa.RecordBatch]:
    """The same of an Arrow IPC file (Feather) or stream."""
    with open_bytes(file) as stream:
        try:
            schema, batches = _opened(stream)
            first = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{file.name}: the Arrow file is cut off or damaged; copy it again.") from error
        sample = None if first is None else first.slice(0, SAMPLE_ROWS)
        columns = _columns(schema, sample, file, reading)
        yield from _all(_cut(first, batches), columns, "Arrow", file, reading)


def _opened(stream: IO[bytes]) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    start = stream.read(6)
    stream.seek(0)
    if start == b"ARROW1":
        whole = pa.ipc.open_file(stream)
        return whole.schema, map(whole.get_batch, range(whole.num_record_batches))
    flow = pa.ipc.open_stream(stream)
    return flow.schema, iter(flow)


def _cut(first: pa.RecordBatch | None, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    batch = first
    while batch is not None:
        for start in range(0, batch.num_rows, _ROWS):
            yield batch.slice(start, _ROWS)
        batch = next(batches, None)


def _fields(schema: pa.Schema) -> tuple[list[str], list[pa.DataType]]:
    return schema.names, schema.types


def _columns(schema: pa.Schema, sample: pa.RecordBatch | None, file: File, reading: Reading) -> Columns:
    names = [*schema.names, *file.beside(schema.names)]
    count = 0 if sample is None else sample.num_rows
    beside = file.beside(schema.names)
    values = []
    for name, kind in zip(*_fields(schema), strict=True):
        known = _light(kind) and schema.names.count(name) == 1
        values.append(sample.column(name).to_pylist() if sample is not None and known else [None] * count)
    values += [[value] * count for value in beside.values()]
    columns = find_columns(names, reading, file.name, list(zip(*values, strict=True)))
    if reading.labelled and (named := _class_names(schema, columns.label_name)):
        shown = ", ".join(f"{place} is {name!r}" for place, name in enumerate(named[:3]))
        reading.note(
            f"column {columns.label_name!r} holds numbers, whose class names stand in the file's metadata ({shown}"
            f"{', …' if named[3:] else ''}) and are not used; put the names into the column to train on them"
        )
    return columns


def _class_names(schema: pa.Schema, column: str) -> list[str]:
    """Names of the classes that a column's numbers stand for, as Hugging Face's data sets keep them."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        feature = features[column]
        return [str(name) for name in (feature.get("feature") or feature)["names"]]
    except (KeyError, TypeError, AttributeError, ValueError):
        return []


def _chosen(columns: Columns) -> list[str]:
    return [columns.names[place] for place in columns.chosen]


def _all(
    batches: Iterator[pa.RecordBatch], columns: Columns, kind: str, file: File, reading: Reading
) -> Iterator[pa.RecordBatch]:
    line = 1
    try:
        for batch in batches:
            yield from _converted(batch, columns, line, file, Batcher(reading, file.name, columns.mark_name))
            line += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file.name}, after row {line - 1}: the {kind} file is damaged; copy it again.") from error


def _converted(
    batch: pa.RecordBatch, columns: Columns, line: int, file: File, batcher: Batcher
) -> Iterator[pa.RecordBatch]:
    size = batch.num_rows
    beside = file.beside(batch.schema.names)
    arrays = [
        pa.repeat(pa.scalar(beside[name], pa.string()), size) if name in beside else batch.column(name)
        for name in _chosen(columns)
    ]
    if columns.mark is None and all(_plain(array.type) for array in arrays):
        text, label, *extra = (pc.cast(array, pa.large_string()) for array in arrays)
        found = [
            text,
            label,
            pa.nulls(size, pa.string()),
            pa.repeat(pa.scalar(batcher.source), size),
            pa.array(range(line, line + size), pa.int64()),
            pa.nulls(size, pa.string()),
            *(pc.cast(array, pa.string()) for array in extra),
        ]
        yield pa.RecordBatch.from_arrays(found, schema=batcher.schema)
        return
    for offset, values in enumerate(zip(*(array.to_pylist() for array in arrays), strict=True)):
        batcher.add(line + offset, *values)
        if batcher.full():
            yield from batcher.flush()
    yield from batcher.flush()


def _plain(kind: pa.DataType) -> bool:
    """Whether Arrow's own cast gives the value's usual spelling."""
    if isinstance(kind, pa.DictionaryType):
        return _plain(kind.value_type)
    return _is_string(kind) or any(test(kind) for test in (pa.types.is_integer, pa.types.is_boolean, pa.types.is_null))


def _is_string(kind: pa.DataType) -> bool:
    return any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _light(kind: pa.DataType) -> bool:
    """Whether values can be looked at cheaply, as those of pictures and vectors cannot."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_string(kind.value_type)
    return _plain(kind) or pa.types.is_floating(kind)


def _rows(stream: IO[bytes]) -> int | None:
    try:
        return pq.ParquetFile(stream).metadata.num_rows
    except pa.ArrowException:
        # Reading the rows will say what is wrong, and where.
        return None


register(BinaryFormat("Parquet file", (b"PAR1",), ("parquet",), read_parquet, _rows))
register(BinaryFormat("Feather file", (b"ARROW1", b"\xff\xff\xff\xff"), ("feather",), read_ipc))
