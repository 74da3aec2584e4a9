"""JSON: one object a line, or an array of objects; both streamed."""

import json
from collections.abc import Iterator
from itertools import chain, islice
from typing import IO, Any

import orjson
import pyarrow as pa

from tasks.base.errors import InputError
from tasks.data.sources import Reading
from tasks.data.sources.batches import Batcher
from tasks.data.sources.columns import find_columns
from tasks.data.sources.opening import File, open_text

_PIECE = 1 << 20
_HEAD = 50


def read(file: File, encoding: str, reading: Reading) -> Iterator[pa.RecordBatch]:
    """Batches of `reading.schema`; `line` is the line, or in an array the object's number from 1.

    The columns are the keys of the first objects; a key that a row lacks is a missing value there.
    A line that is no JSON object is a rejected row.
    """
    batcher = Batcher(reading, file.name)
    with open_text(file, encoding) as text:
        entries = _entries(file, text)
        head = list(islice(entries, _HEAD))
        keys = dict.fromkeys(key for _, entry, _ in head if isinstance(entry, dict) for key in entry)
        if not keys:
            raise InputError(f'{file.name}: holds no JSON object such as {{"text": "…", "label": "…"}}.{_first(head)}')
        columns = find_columns(list(keys), reading.settings, file.name, reading.labelled)
        reading.text_column, reading.label_column = columns.text_name, columns.label_name
        extra = [columns.names[index] for index in columns.extra]
        for line, entry, wrong in chain(head, entries):
            if isinstance(entry, dict):
                get = entry.get
                batcher.add(line, get(columns.text_name), get(columns.label_name), tuple(map(get, extra)))
            else:
                batcher.reject(line, str(entry), wrong or "not a JSON object")
            if batcher.full():
                yield from batcher.flush()
    yield from batcher.flush()


def _first(head: list[tuple[int, Any, str | None]]) -> str:
    return f" Line {head[0][0]}: {head[0][2]}." if head and head[0][2] else ""


def _entries(file: File, text: IO[str]) -> Iterator[tuple[int, Any, str | None]]:
    start = text.read(1)
    while start and (start.isspace() or start == "\ufeff"):
        start = text.read(1)
    if start == "[":
        for number, entry in enumerate(_array(file, text), start=1):
            yield number, entry, None
    else:
        yield from _lines(start, text)


def _lines(start: str, text: IO[str]) -> Iterator[tuple[int, Any, str | None]]:
    for number, rest in enumerate(text, start=1):
        line = start + rest
        start = ""
        if line.isspace():
            continue
        try:
            yield number, _parsed(line), None
        except json.JSONDecodeError as error:
            yield number, line.strip(), f"not JSON: {error.msg} at character {error.pos + 1}"


def _parsed(line: str) -> Any:
    try:
        return orjson.loads(line)
    except ValueError:
        # The standard library reads what the faster one refuses: lone surrogates, numbers beyond 64 bits.
        return json.loads(line)


def _array(file: File, text: IO[str]) -> Iterator[Any]:
    decoder = json.JSONDecoder()
    buffer, position, count = "", 0, 0
    while True:
        while position < len(buffer) and buffer[position] in " \t\r\n,":
            position += 1
        if position < len(buffer) and buffer[position] == "]":
            return
        try:
            entry, position = decoder.raw_decode(buffer, position)
        except json.JSONDecodeError as error:
            piece = text.read(max(_PIECE, len(buffer) - position))
            if not piece:
                raise InputError(
                    f"{file.name}: the JSON array breaks off or is damaged after object {count}: {error.msg}."
                ) from error
            buffer, position = buffer[position:] + piece, 0
            continue
        if position == len(buffer):
            # A number may go on in the next piece; objects cannot.
            buffer, position = "", 0
        count += 1
        yield entry
