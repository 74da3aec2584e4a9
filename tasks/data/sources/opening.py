"""Opening one file wherever it lies: unsealed and unpacked by its first bytes, decoded by what it turns out to be."""

import bz2
import gzip
import io
import lzma
import sys
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

import fsspec
import zstandard

from tasks.base.errors import InputError
from tasks.data.sealed_files import opened_when_sealed

_CHUNK = 1 << 20
_EXCERPT = 200
_START = 64
_COMPRESSED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"(\xb5/\xfd": lambda stream: io.BufferedReader(_Zstandard(stream), _CHUNK),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_FOREIGN = {
    b"%PDF": "a PDF document; save its table as CSV",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"SQLite format 3\x00": "an SQLite database; name it as sqlite:///PATH with --query",
    b"version https://git-lfs": "a Git LFS pointer, which stands for the file; get the file itself with `git lfs pull`",
    b"FEA1": "a Feather file of version 1; write it again with version 2, or as Parquet",
    b"\x93NUMPY": "a NumPy array; save the table as Parquet or CSV",
    **{bytes((0x80, version)): "a Python pickle, which may run code when it is read; save the table as Parquet"
       for version in range(2, 6)},
}  # fmt: skip
_PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml")
_BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


@dataclass(frozen=True)
class File:
    """A file of a source: `name` is shown to people, `path` lies in the fsspec file system `system`.

    `key` is the source of the key that opens it where it is sealed; what the environment names when None.
    `partition` are columns whose value is one for the whole file, since its folder is called NAME=VALUE.
    """

    name: str
    path: str
    system: fsspec.AbstractFileSystem
    key: str | None = None
    partition: dict[str, str | None] = field(default_factory=dict)

    def beside(self, names: Collection[str]) -> dict[str, str | None]:
        """Columns of the partition that are none of the file's own."""
        return {name: value for name, value in self.partition.items() if name not in names}

    @property
    def suffixes(self) -> list[str]:
        return self.path.rsplit("/", 1)[-1].casefold().split(".")[1:]


@contextmanager
def open_bytes(file: File) -> Iterator[IO[bytes]]:
    """The file's bytes: opened when it is sealed, decompressed when its first bytes say gzip, zstd, bz2 or xz.

    Raises:
        InputError: it cannot be opened, is cut off, or is a kind of file that holds no table.
    """
    try:
        with (
            file.system.open(file.path, "rb") as stored,
            opened_when_sealed(stored, file.name, file.key) as raw,  # type: ignore[arg-type]
        ):
            start = raw.read(_START)
            raw.seek(0)
            if foreign := _foreign(start):
                raise InputError(f"{file.name} is {foreign}.")
            wrap = next((wrap for magic, wrap in _COMPRESSED.items() if start.startswith(magic)), None)
            if wrap is None:
                yield raw
            else:
                with wrap(raw) as unpacked:
                    yield unpacked
    except _BROKEN as error:
        raise InputError(f"{file.name} cannot be read: {_why(error)}.") from error


def _foreign(start: bytes) -> str | None:
    """What a file is that begins like this and holds no table, and what to do; None when it may hold one."""
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGES):
        return "a page or document (HTML or XML), such as the page of a log-in; download the file itself"
    return next((kind for magic, kind in _FOREIGN.items() if start.startswith(magic)), None)


def _why(error: BaseException) -> str:
    if isinstance(error, PermissionError):
        return "no permission; check the file's owner and mode"
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, EOFError):
        return "its compressed data is cut off; copy or download it again"
    if isinstance(error, (zlib.error, lzma.LZMAError, zstandard.ZstdError, gzip.BadGzipFile)):
        return f"its compressed data is damaged ({error}); copy or download it again"
    return str(error) or type(error).__name__


class _Zstandard(io.RawIOBase):
    """Decompressed frames; unlike the library's own reader it tells a stream that is cut off (EOFError)."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._frame: Any = None
        self._ready = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            chunk = self._raw.read(_CHUNK)
            if not chunk:
                if self._frame is not None:
                    raise EOFError
                return 0
            self._ready = self._decompressed(chunk)
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _decompressed(self, chunk: bytes) -> bytes:
        pieces = []
        while chunk:
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            pieces.append(self._frame.decompress(chunk))
            chunk = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
        return b"".join(pieces)


class Overlong(str):
    """The beginning of a line that is longer than may be held."""


class Text:
    """A file's characters; its lines are of `longest` characters at most, a longer one comes as `Overlong`."""

    def __init__(self, text: IO[str], longest: int) -> None:
        self._text = text
        self.longest = longest
        self.read = text.read

    def __iter__(self) -> Iterator[str]:
        readline, longest = self._text.readline, self.longest
        while line := readline(longest + 1):
            if len(line) > longest and line[-1] not in "\r\n":
                beginning = Overlong(line[:_EXCERPT])
                while line and line[-1] not in "\r\n":
                    line = readline(_CHUNK)
                yield beginning
            else:
                yield line


@contextmanager
def open_text(file: File, encoding: str, longest: int = sys.maxsize - 1) -> Iterator[Text]:
    """The file's characters, line ends as they are; bytes foreign to `encoding` become lone surrogates.

    Args:
        longest: characters of a line that are held at most.
    """
    # These have bytes below 128 that are no characters, which no surrogate stands for.
    errors = "replace" if encoding.startswith(("utf-16", "utf-32", "utf-7", "hz", "iso2022")) else "surrogateescape"
    with open_bytes(file) as stream, io.TextIOWrapper(stream, encoding, errors, newline="") as text:  # type: ignore[arg-type]
        yield Text(text, longest)
