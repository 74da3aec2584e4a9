"""The finished parts as one file, in the format that its name asks for."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tasks.errors import InputError

Write = Callable[[IO[bytes], pa.Schema, Iterator[pa.Table]], None]


def _parquet(sink: IO[bytes], schema: pa.Schema, parts: Iterator[pa.Table]) -> None:
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        for part in parts:
            writer.write_table(part)


def _csv(sink: IO[bytes], schema: pa.Schema, parts: Iterator[pa.Table]) -> None:
    flat = pa.schema([field.with_type(pa.string()) if pa.types.is_list(field.type) else field for field in schema])
    with pyarrow.csv.CSVWriter(sink, flat) as writer:
        for part in parts:
            writer.write_table(_with_json_lists(part, flat))


def _with_json_lists(part: pa.Table, flat: pa.Schema) -> pa.Table:
    columns = [
        part.column(field.name)
        if part.schema.field(field.name).type == field.type
        else pa.array(
            [None if value is None else orjson.dumps(value).decode() for value in part.column(field.name).to_pylist()]
        )
        for field in flat
    ]
    return pa.Table.from_arrays(columns, schema=flat)


def _json_lines(sink: IO[bytes], schema: pa.Schema, parts: Iterator[pa.Table]) -> None:
    for part in parts:
        sink.writelines(orjson.dumps(row) + b"\n" for row in part.to_pylist())


FORMATS: dict[str, Write] = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json_lines}


def format_of(output: Path) -> Write:
    """How `output` is written; raises InputError for a name that says no known format."""
    if output.suffix not in FORMATS:
        raise InputError(f"{output}: the output's name must end in {', '.join(FORMATS)}.")
    return FORMATS[output.suffix]


def join(parts: Sequence[Path], schema: pa.Schema, output: Path) -> int:
    """Writes the parts' rows to `output` in their order, whole or not at all; the number of rows with an error."""
    errors = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal errors
        for part in parts:
            table = pq.read_table(part, schema=schema)
            errors += table.num_rows - table.column("error").null_count
            yield table

    unfinished = output.with_name(f".{output.name}.unfinished")
    with unfinished.open("wb") as sink:
        format_of(output)(sink, schema, tables())
        sink.flush()
        os.fsync(sink.fileno())
    unfinished.replace(output)
    return errors
