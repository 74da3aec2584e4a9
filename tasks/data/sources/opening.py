"""Opening one file wherever it lies: unsealed and unpacked by its first bytes, decoded by what it turns out to be."""

import bz2
import codecs
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import charset_normalizer
import fsspec
import zstandard

from tasks.base.errors import InputError
from tasks.data.sealed_files import opened_when_sealed

_CHUNK = 1 << 20
_SAMPLE = 1 << 16
_COMPRESSED: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream),
    b"(\xb5/\xfd": lambda stream: io.BufferedReader(_Zstandard(stream), _CHUNK),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_FOREIGN = {
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old spreadsheet or document; save it as CSV",
    b"%PDF": "a PDF document; save its table as CSV",
    b"\x89PNG": "an image",
    b"\xff\xd8\xff": "an image",
    b"SQLite format 3\x00": "an SQLite database; name it as sqlite:///PATH with --query",
}
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FOREIGN_BYTES = re.compile("[\udc80-\udcff]+")
_BROKEN = (EOFError, OSError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


@dataclass(frozen=True)
class File:
    """A file of a source: `name` is shown to people, `path` lies in the fsspec file system `system`.

    `key` is the source of the key that opens it where it is sealed; what the environment names when None.
    """

    name: str
    path: str
    system: fsspec.AbstractFileSystem
    key: str | None = None

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
            start = raw.read(16)
            raw.seek(0)
            for magic, kind in _FOREIGN.items():
                if start.startswith(magic):
                    raise InputError(f"{file.name} is {kind}.")
            wrap = next((wrap for magic, wrap in _COMPRESSED.items() if start.startswith(magic)), None)
            if wrap is None:
                yield raw
            else:
                with wrap(raw) as unpacked:
                    yield unpacked
    except _BROKEN as error:
        raise InputError(f"{file.name} cannot be read: {_why(error)}.") from error


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


def detect_encoding(file: File) -> tuple[str, str | None]:
    """(encoding, note) of a text file: by its mark, else UTF-8 when all of it is, else the likeliest.

    The whole file is read once, in pieces: what is not UTF-8 may stand far behind the beginning.
    A few bytes that are not UTF-8 in a file that otherwise is do not change its encoding.
    """
    with open_bytes(file) as stream:
        start = stream.read(_SAMPLE)
        for mark, encoding in _MARKS:
            if start.startswith(mark):
                return encoding, None
        if wide := _unmarked_utf16(start):
            return wide, f"{file.name}: read as {wide.upper()}, assumed from its zero bytes"
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        foreign = characters = 0
        sample = b""
        chunk = start
        while chunk:
            text = decoder.decode(chunk)
            if not text.isascii():
                characters += len(text) - len(text.encode("ascii", "ignore"))
                if bad := sum(map(len, _FOREIGN_BYTES.findall(text))):
                    foreign += bad
                    sample += b"\n".join(line for line in chunk.split(b"\n") if not line.isascii())[:_SAMPLE]
            if len(sample) >= 4 * _SAMPLE:
                break
            chunk = stream.read(_CHUNK)
    if foreign <= 0.05 * characters:
        return "utf-8", None
    return _likeliest(file, sample)


def _unmarked_utf16(start: bytes) -> str | None:
    """UTF-16 without its mark: line ends of two bytes, and zeros on one side of the pairs only."""
    even, odd = start[0::2].count(0), start[1::2].count(0)
    if b"\n\0" in start and odd > len(start) / 200 and even <= odd / 20:
        return "utf-16-le"
    if b"\0\n" in start and even > len(start) / 200 and odd <= even / 20:
        return "utf-16-be"
    return None


def _likeliest(file: File, sample: bytes) -> tuple[str, str]:
    best = charset_normalizer.from_bytes(sample).best()
    if best is None:
        raise InputError(f"{file.name}: its encoding cannot be told; save it as UTF-8.")
    # GB18030 contains GBK and GB2312; the wider one reads every such file.
    encoding = "gb18030" if best.encoding in ("gb2312", "gbk", "gb18030", "hz") else best.encoding
    return encoding, f"{file.name}: read as {encoding.upper()}, assumed since it is not UTF-8"


@contextmanager
def open_text(file: File, encoding: str) -> Iterator[IO[str]]:
    """The file's characters, line ends as they are; bytes foreign to `encoding` become lone surrogates."""
    errors = "surrogateescape" if encoding.startswith(("utf-8", "gb", "cp", "iso", "latin")) else "replace"
    with open_bytes(file) as stream, io.TextIOWrapper(stream, encoding, errors, newline="") as text:  # type: ignore[arg-type]
        yield text
