"""Formats of files: one file a format, found by importing this package's modules."""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

import pyarrow as pa

from tasks.data.sources import Reading
from tasks.data.sources.opening import File

START_BYTES, START_CHARACTERS = 8, 4096
"""How much of a file's beginning tells its format."""


@dataclass(frozen=True)
class BinaryFormat:
    """A format that is told by the first bytes, before anything is decoded.

    `magics` are those bytes, at most `START_BYTES`. `name` is what people call such a file; one that is named by
    `suffixes` and begins otherwise is refused. `read` gives batches of `reading.schema`. `rows` is the number of rows
    in a stream where that is quickly told, else None.
    """

    name: str
    magics: tuple[bytes, ...]
    suffixes: tuple[str, ...]
    read: Callable[[File, Reading], Iterator[pa.RecordBatch]]
    rows: Callable[[IO[bytes]], int | None] = lambda stream: None


@dataclass(frozen=True)
class TextFormat:
    """A format of text; those of lower `rank` are asked first.

    `claims` is asked with a file and up to `START_CHARACTERS` of its text, without leading white space. `read` takes
    the file, its encoding and the reading, and gives batches of `reading.schema`.
    """

    name: str
    rank: int
    claims: Callable[[File, str], bool]
    read: Callable[[File, str, Reading], Iterator[pa.RecordBatch]]


_REGISTRY: dict[str, BinaryFormat | TextFormat] = {}


def register(kind: BinaryFormat | TextFormat) -> None:
    """Makes a format available."""
    _REGISTRY[kind.name] = kind


def _formats() -> list[BinaryFormat | TextFormat]:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return list(_REGISTRY.values())


def binary_formats() -> list[BinaryFormat]:
    return [one for one in _formats() if isinstance(one, BinaryFormat)]


def binary_format(start: bytes) -> BinaryFormat | None:
    """The format of a file that begins with these bytes; None when it is text."""
    return next((one for one in binary_formats() if start.startswith(one.magics)), None)


def text_format(file: File, start: str) -> TextFormat:
    """The format of a file of text that begins like this; the last one claims whatever the others leave."""
    found = sorted((one for one in _formats() if isinstance(one, TextFormat)), key=lambda one: one.rank)
    return next(one for one in found if one.claims(file, start))
