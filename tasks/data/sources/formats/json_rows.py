"""JSON: one object a line, or an array of objects; both streamed."""

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from typing import Any

import orjson
import pyarrow as pa

from tasks.base.errors import InputError
from tasks.data.sources import Reading
from tasks.data.sources.batches import Batcher
from tasks.data.sources.columns import SAMPLE_ROWS, find_columns
from tasks.data.sources.formats import TextFormat, register
from tasks.data.sources.opening import File, Overlong, Text, open_text

_PIECE = 1 << 20


def read(file: File, encoding: str, reading: Reading) -> Iterator[pa.RecordBatch]:
    """Batches of `reading.schema`; `line` is the line, or in an array the object's number from 1.

    The columns are the keys of the first objects; a key that a row lacks is a missing value there.
    A line that is no JSON object is a rejected row.
    """
    with open_text(file, encoding, reading.longest_line) as text:
        entries = _entries(file, text, reading)
        head = list(islice(entries, SAMPLE_ROWS))
        found = [entry for _, entry, _ in head if isinstance(entry, dict)]
        keys = dict.fromkeys(key for entry in found for key in entry)
        if not keys:
            raise InputError(f'{file.name}: holds no JSON object such as {{"text": "…", "label": "…"}}.{_first(head)}')
        beside = file.beside(keys)
        names = [*keys, *beside]
        sample = [[entry.get(name, beside.get(name)) for name in names] for entry in found]
        columns = find_columns(names, reading, file.name, sample)
        chosen = [names[place] for place in columns.chosen]
        batcher = Batcher(reading, file.name, columns.mark_name)
        for line, entry, wrong in chain(head, entries):
            if isinstance(entry, dict):
                batcher.add(line, *map((entry | beside if beside else entry).get, chosen))
            else:
                batcher.reject(line, str(entry), wrong or "not a JSON object")
            if batcher.full():
                yield from batcher.flush()
    yield from batcher.flush()


def _first(head: list[tuple[int, Any, str | None]]) -> str:
    return f" Line {head[0][0]}: {head[0][2]}." if head and head[0][2] else ""


def _entries(file: File, text: Text, reading: Reading) -> Iterator[tuple[int, Any, str | None]]:
    start = text.read(1)
    while start and (start.isspace() or start == "\ufeff"):
        start = text.read(1)
    if start == "[":
        for number, entry in enumerate(_array(file, text, reading), start=1):
            yield number, entry, None
    else:
        yield from _lines(start, text, reading)


def _lines(start: str, text: Text, reading: Reading) -> Iterator[tuple[int, Any, str | None]]:
    for number, rest in enumerate(text, start=1):
        if isinstance(rest, Overlong):
            yield number, start + rest, "a line longer than the memory allows; --memory gives more"
            start = ""
            continue
        line = start + rest
        start = ""
        if line.isspace():
            continue
        try:
            entry = _parsed(line)
        except json.JSONDecodeError as error:
            yield number, line.strip(), f"not JSON: {error.msg} at character {error.pos + 1}"
            continue
        if isinstance(entry, dict) and any(line.count(f'"{key}"') > 1 for key in entry):
            twice: list[str] = []
            json.loads(line, object_pairs_hook=partial(_paired, twice))
            _count(twice, reading)
        yield number, entry, None


def _parsed(line: str) -> Any:
    try:
        return orjson.loads(line)
    except ValueError:
        # The standard library reads what the faster one refuses: lone surrogates, numbers beyond 64 bits, NaN.
        return json.loads(line)


def _paired(twice: list[str], pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, whose last value counts where a key stands twice; the key is then put into `twice`."""
    entry = dict(pairs)
    if len(entry) < len(pairs):
        twice.append(next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1))
    return entry


def _count(twice: list[str], reading: Reading) -> None:
    if twice:
        reading.counted[f"objects hold a key twice, such as {twice[0]!r}; the last value counts"] += 1


def _array(file: File, text: Text, reading: Reading) -> Iterator[Any]:
    twice: list[str] = []
    decoder = json.JSONDecoder(object_pairs_hook=partial(_paired, twice))
    buffer, position, count = "", 0, 0
    while True:
        while position < len(buffer) and buffer[position] in " \t\r\n,":
            position += 1
        if position < len(buffer) and buffer[position] == "]":
            return
        twice.clear()
        try:
            entry, position = decoder.raw_decode(buffer, position)
        except json.JSONDecodeError as error:
            if len(buffer) - position > text.longest:
                raise InputError(
                    f"{file.name}: object {count + 1} of the JSON array is longer than the memory allows; "
                    "give more with --memory, or write one object a line."
                ) from error
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
        _count(twice, reading)
        count += 1
        yield entry


def _looks_like_json(file: File, start: str) -> bool:
    named = any(suffix in ("json", "jsonl", "ndjson") for suffix in file.suffixes)
    return named or start.startswith("{") or (start.startswith("[") and start[1:].lstrip().startswith("{"))


register(TextFormat("JSON", 10, _looks_like_json, read))
