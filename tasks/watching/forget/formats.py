"""How each format that the state holds is read and rewritten without what is sought: one function a format.

Such a function reads `before` whole, writes to `after` what stays (nothing where `after` is None) and returns how many
rows, or values, it found. Rows beside those stay byte for byte where the format has lines.
"""

import csv
import gzip
import io
import json
import lzma
import mmap
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import pyarrow as pa

from tasks.watching.forget.sought import FORGOTTEN, Fixed, Sought
from tasks.watching.forget.tables import without_rows

Erase = Callable[[IO[bytes], IO[bytes] | None, Sought], int]

csv.field_size_limit(sys.maxsize)


class Format(NamedTuple):
    """`rows`: what is found leaves as whole rows; `in_place`: processes have such a file open and append to it;
    `text`: its bytes are text."""

    erase: Erase
    rows: bool = False
    in_place: bool = False
    text: bool = True


class Unreadable(Exception):
    """The file cannot be looked into; the message says why."""


def format_of(name: str, start: bytes) -> Format | None:
    """The format by a file's first bytes, then by its name; None for content of no known form.

    Raises:
        Unreadable: compressed in a way that the state does not use.
    """
    for magic, what in _FOREIGN.items():
        if start.startswith(magic):
            raise Unreadable(f"it is {what}")
    for magic, form in _BY_MAGIC.items():
        if start.startswith(magic):
            return form
    suffixes = Path(name).suffixes
    if start.startswith(b"\x1f\x8b"):
        inner = _BY_SUFFIX.get(suffixes[-2] if len(suffixes) > 1 and suffixes[-1] == ".gz" else "", _TEXT)
        return Format(_gzipped(inner.erase), inner.rows, text=False)
    return _BY_SUFFIX.get(suffixes[-1] if suffixes else "")


def erased(form: Format, before: IO[bytes], after: IO[bytes] | None, sought: Sought) -> int:
    """What `form.erase` returns.

    Raises:
        Unreadable: the file is damaged, or not what its name says.
        Fixed: what is sought cannot be taken out.
    """
    try:
        return form.erase(before, after, sought)
    except (pa.ArrowException, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, gzip.BadGzipFile) as error:
        raise Unreadable(f"it is damaged: {str(error).splitlines()[0]}") from error
    except (csv.Error, ValueError, NotImplementedError) as error:
        raise Unreadable(str(error).splitlines()[0]) from error


def blank_in_place(file: Path, sought: Sought) -> int:
    """Puts as many asterisks over what is sought: whoever has the file open goes on appending to it."""
    content = file.read_bytes()
    places = sought.places(content)
    with file.open("r+b", buffering=0) as stream:
        for start, end in places:
            os.pwrite(stream.fileno(), b"*" * (end - start), start)
    return len(places)


def holds_anywhere(file: Path, sought: Sought) -> bool:
    """Whether the file's bytes, of whatever form, hold what is sought."""
    with file.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:
            return False
        with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return sought.in_any_bytes(content)


def _kept_records(records: Iterator[tuple[bytes, object]], after: IO[bytes] | None, sought: Sought) -> int:
    found = 0
    for raw, value in records:
        if sought.in_bytes(raw) or sought.holds(value):
            found += 1
        elif after:
            after.write(raw)
    return found


def _json_lines(before: IO[bytes], after: IO[bytes] | None, sought: Sought) -> int:
    return _kept_records(((line, _parsed(line)) for line in before), after, sought)


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except ValueError:
        # Its bytes are searched all the same.
        return None


def _csv(before: IO[bytes], after: IO[bytes] | None, sought: Sought) -> int:
    records = _csv_records(before)
    header, names = next(records, (b"", []))
    if sought.in_bytes(header) or sought.holds(names):
        raise Fixed("the header")
    if after:
        after.write(header)
    return _kept_records(records, after, sought)


def _csv_records(before: IO[bytes]) -> Iterator[tuple[bytes, list[str]]]:
    """Each record, which may go over several lines, as its bytes and its fields."""
    taken: list[bytes] = []

    def lines() -> Iterator[str]:
        for line in before:
            taken.append(line)
            yield line.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()

    for fields in csv.reader(lines()):
        yield b"".join(taken), fields
        taken.clear()


def _json(before: IO[bytes], after: IO[bytes] | None, sought: Sought) -> int:
    content = before.read()
    try:
        value = json.loads(content)
    except ValueError:
        return _blank(content, after, sought)
    blanked, found = _without(value, sought)
    if after:
        indent = 2 if b"\n" in content.strip() else None
        after.write(json.dumps(blanked, ensure_ascii=False, indent=indent).encode("utf-8", "surrogatepass"))
        after.write(b"\n" if content.endswith(b"\n") else b"")
    return found


def _without(value: Any, sought: Sought) -> tuple[Any, int]:
    match value:
        case str() if sought.holds(value):
            # A path by which something is found again: without it a version could not be served any more.
            if value.startswith("/") and Path(value).exists():
                raise Fixed(value)
            return sought.blanked_text(value), 1
        case int() | float() if sought.holds(value):
            return None, 1
        case list():
            inner = [_without(one, sought) for one in value]
            return [one for one, _ in inner], sum(found for _, found in inner)
        case dict():
            pairs = [(_without(key, sought), _without(one, sought)) for key, one in value.items()]
            return {key: one for (key, _), (one, _) in pairs}, sum(a + b for (_, a), (_, b) in pairs)
    return value, 0


def _text(before: IO[bytes], after: IO[bytes] | None, sought: Sought) -> int:
    return _blank(before.read(), after, sought)


def _blank(content: bytes, after: IO[bytes] | None, sought: Sought) -> int:
    changed, found = sought.blanked(content)
    if found and b"\0" in content:
        raise Fixed("it is no text")
    if after:
        after.write(changed)
    return found


def _array(before: IO[bytes], after: IO[bytes] | None, sought: Sought) -> int:
    array = np.load(io.BytesIO(before.read()), allow_pickle=False)
    if array.dtype.kind not in "US":
        if sought.in_any_bytes(np.ascontiguousarray(array).tobytes()):
            raise Fixed("an array of numbers")
        changed, found = array, 0
    else:
        values = array.ravel().tolist()
        hit = [sought.holds(value) for value in values]
        found = sum(hit)
        blank = FORGOTTEN.encode() if array.dtype.kind == "S" else FORGOTTEN
        kept = [blank if gone else value for value, gone in zip(values, hit, strict=True)]
        changed = np.array(kept, array.dtype.kind).reshape(array.shape) if found else array
    if after:
        np.save(after, changed, allow_pickle=False)
    return found


def _archive(before: IO[bytes], after: IO[bytes] | None, sought: Sought) -> int:
    """A zip archive, as `.npz` and `.keras` are: its members by their names."""
    found = 0
    with (
        zipfile.ZipFile(before) as archive,
        zipfile.ZipFile(after or io.BytesIO(), "w") as rewritten,
    ):
        for member in archive.infolist():
            content, changed = archive.read(member), io.BytesIO()
            form = format_of(member.filename, content[:16])
            if sought.holds(member.filename) or (form is None and sought.in_any_bytes(content)):
                raise Fixed(member.filename)
            found += form.erase(io.BytesIO(content), changed, sought) if form else 0
            if after:
                rewritten.writestr(member, changed.getvalue() if form else content)
    return found


def _gzipped(inner: Erase) -> Erase:
    def erase(before: IO[bytes], after: IO[bytes] | None, sought: Sought) -> int:
        with gzip.GzipFile(fileobj=before) as plain:
            if after is None:
                return inner(plain, None, sought)  # pyright: ignore[reportArgumentType]
            with gzip.GzipFile(fileobj=after, mode="wb") as packed:
                return inner(plain, packed, sought)  # pyright: ignore[reportArgumentType]

    return erase


_TEXT = Format(_text)
_TABLE = Format(without_rows, rows=True, text=False)
_ARCHIVE = Format(_archive, text=False)
_ARRAY = Format(_array, text=False)
_BY_MAGIC = {b"PAR1": _TABLE, b"PK\x03\x04": _ARCHIVE, b"\x93NUMPY": _ARRAY}
_FOREIGN = {
    b"\x28\xb5\x2f\xfd": "compressed by zstd",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ": "compressed by xz",
    b"7z\xbc\xaf": "a 7z archive",
}
_BY_SUFFIX = {
    ".jsonl": Format(_json_lines, rows=True),
    ".csv": Format(_csv, rows=True),
    ".json": Format(_json),
    ".parquet": _TABLE,
    ".npz": _ARCHIVE,
    ".npy": _ARRAY,
    ".log": Format(_text, in_place=True),
    **dict.fromkeys(("", ".html", ".md", ".txt", ".svg", ".xml", ".yaml", ".yml", ".toml"), _TEXT),
}
