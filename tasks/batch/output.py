"""The finished parts as one file, in the format that its name asks for."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from bentos.serving.sealing.keys import KeyProvider
from bentos.serving.sealing.problem import KeyProblem
from tasks.base.errors import InputError
from tasks.base.settings import BatchSettings
from tasks.data.formulas import disarmed, disarmed_names
from tasks.data.sealed_files import KEY_VARIABLE, SUFFIX, opened_when_sealed, sealing_key, written_whole

Write = Callable[[IO[bytes], pa.Schema, Iterator[pa.Table]], None]


_PROBE = b"whether it opens what it seals"


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


def format_suffix(output: Path) -> str:
    """The ending that says the format, whether the output is sealed or not."""
    return output.with_suffix("").suffix if output.suffix == SUFFIX else output.suffix


def format_of(output: Path) -> Write:
    """How `output` is written; raises InputError for a name that says no known format."""
    suffix = format_suffix(output)
    if suffix not in FORMATS:
        raise InputError(f"{output}: the output's name must end in {', '.join(FORMATS)}.")
    return FORMATS[suffix]


@dataclass(frozen=True)
class OutputKeys:
    """Of a sealed output: who it is for, and the source and name of the key under which finished chunks wait for it."""

    recipient: KeyProvider
    waiting: str
    name: str


def keys_of(output: Path, settings: BatchSettings, data_key: str | None) -> OutputKeys | None:
    """The keys of an output that is sealed, as its name says; None for one in clear.

    Args:
        data_key: source of the key that opens sealed inputs; what the environment names when None.

    Raises:
        InputError: a key is missing or cannot be used, or the name does not say that the output is sealed.
    """
    if output.suffix != SUFFIX:
        if settings.seal:
            raise InputError(f"{output} would not be sealed: end the name in {SUFFIX}, as in {output.name}{SUFFIX}.")
        return None
    own = data_key or os.environ.get(KEY_VARIABLE)
    source = settings.seal or own
    if not source:
        raise InputError(f"{output}: there is no key to seal it for; give --seal file:PATH or env:NAME.")
    waiting = own or source
    probe = sealing_key(waiting)
    try:
        probe.unwrap(probe.wrap(_PROBE, _PROBE), _PROBE)
    except KeyProblem as error:
        raise InputError(
            f"{output}: finished chunks wait under a key that opens them again, and {waiting} does not ({error}); set"
            f" {KEY_VARIABLE}, or --data-key."
        ) from error
    return OutputKeys(sealing_key(source), waiting, probe.name)


class Joined(NamedTuple):
    """The rows with an error, and the cells that a spreadsheet would have run as formulas."""

    errors: int
    disarmed: int


def join(
    parts: Sequence[Path], schema: pa.Schema, output: Path, keys: OutputKeys | None = None, *, csv_raw: bool = False
) -> Joined:
    """Writes the parts' rows to `output` in their order, whole or not at all.

    Args:
        csv_raw: leave what a spreadsheet would run as it is.
    """
    errors = cells = 0
    harmless = format_suffix(output) == ".csv" and not csv_raw

    def tables() -> Iterator[pa.Table]:
        nonlocal errors, cells
        for part in parts:
            with part.open("rb") as stored, opened_when_sealed(stored, str(part), keys and keys.waiting) as stream:
                table = pq.read_table(stream, schema=schema)
            errors += table.num_rows - table.column("error").null_count
            if harmless:
                table, found = disarmed(table)
                cells += found
            yield table

    with written_whole(output, keys and keys.recipient, asked=True) as sink:
        format_of(output)(sink, disarmed_names(schema) if harmless else schema, tables())
    return Joined(errors, cells)
