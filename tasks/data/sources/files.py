"""Files: one, a folder, a glob, standard input, or anywhere fsspec reaches."""

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import fsspec
import pyarrow as pa

from tasks.base.errors import InputError
from tasks.data.sources import Reading, register, shown
from tasks.data.sources.encodings import detect_encoding
from tasks.data.sources.formats import START_BYTES, START_CHARACTERS, binary_format, binary_formats, text_format
from tasks.data.sources.opening import File, open_bytes, open_text

_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


class Files:
    """The source of last resort: whatever no other kind claims is a path."""

    name = "files"
    rank = 100

    def claims(self, source: str) -> bool:
        return True

    def read(self, reading: Reading) -> Iterator[pa.RecordBatch]:
        for file in find_files(reading.settings.source, reading.scratch, reading.settings.data_key):
            yield from read_file(file, reading)


def find_files(source: str, scratch: Path, key: str | None = None) -> list[File]:
    """The files that `source` stands for, by name; hidden ones in folders are left out.

    Args:
        key: source of the key that opens those that are sealed.

    Raises:
        InputError: there is none, or the place cannot be reached.
    """
    if source == "-":
        return [_standard_input(scratch, key)]
    try:
        system, path = fsspec.core.url_to_fs(source)
        if system.isdir(path):
            found = [name for name in system.find(path) if not _hidden(name, path)]
        elif any(mark in path for mark in "*?[") and not system.exists(path):
            found = [name for name in system.glob(path) if not _hidden(name, path) and not system.isdir(name)]
        else:
            found = [path] if system.exists(path) else []
    except ImportError as error:
        raise InputError(f"{shown(source)}: reading from there needs another package ({error}).") from error
    except (ValueError, OSError) as error:
        raise InputError(f"{shown(source)} cannot be reached: {error}.") from error
    if not found:
        raise InputError(f"{shown(source)}: there is no such file, or the folder holds none; check the path.")
    local = "://" not in source
    # Of the path before the folder, or before what a glob leaves open, nothing says what is in the file.
    stem = re.split(r"[*?\[]", path)[0]
    return [
        File(
            _near(name) if local else shown(system.unstrip_protocol(name)),
            name,
            system,
            key,
            _partition(name.removeprefix(stem if len(found) > 1 or name != path else name)),
        )
        for name in sorted(found)
    ]


def _partition(inside: str) -> dict[str, str | None]:
    """The columns that folders called NAME=VALUE stand for, as Hive, Spark and Arrow write them."""
    pairs = (part.split("=", 1) for part in inside.split("/")[:-1] if "=" in part)
    return {unquote(name): None if value == _NULL_PARTITION else unquote(value) for name, value in pairs if name}


def _near(path: str) -> str:
    return str(Path(path).relative_to(Path.cwd())) if Path(path).is_relative_to(Path.cwd()) else path


def _hidden(name: str, folder: str) -> bool:
    inside = name.removeprefix(folder.rstrip("/"))
    return any(part.startswith((".", "_SUCCESS")) for part in inside.split("/") if part)


def _standard_input(scratch: Path, key: str | None) -> File:
    # Parquet needs seeking, and the encoding is found by reading twice: neither works on a pipe.
    path = scratch / "standard-input"
    with path.open("wb") as copy:
        shutil.copyfileobj(sys.stdin.buffer, copy)
    return File("standard input", str(path), fsspec.filesystem("file"), key)


def read_file(file: File, reading: Reading) -> Iterator[pa.RecordBatch]:
    """The rows of one file, whose format its content tells (its name only where the content leaves it open)."""
    with open_bytes(file) as stream:
        start = stream.read(START_BYTES)
    if found := binary_format(start):
        yield from found.read(file, reading)
        return
    if not start:
        raise InputError(f"{file.name} is empty; it needs a header such as text,label and one row a line.")
    for kind in binary_formats():
        if set(kind.suffixes) & set(file.suffixes):
            raise InputError(f"{file.name} is no {kind.name}, or its beginning is lost; copy it again.")
    encoding, note = detect_encoding(file, reading.settings.encoding)
    if note:
        reading.note(note)
    with open_text(file, encoding) as text:
        beginning = text.read(START_CHARACTERS).lstrip("\ufeff \t\r\n")
    yield from text_format(file, beginning).read(file, encoding, reading)


register(Files())
