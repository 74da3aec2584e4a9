"""Files encrypted at rest, written and read as a stream: training data, batch inputs, batch outputs.

A sealed file begins with `MAGIC` and a line of JSON: the wrapping key's name, and a data key of this file alone under
that key (`bentos/serving/sealing/keys.py`). Chunks follow, each sealed with AES-256-GCM. A chunk's nonce is its number
and whether it is the last one (STREAM; Hoang, Reyhanitabar, Rogaway and Vizar 2015), its associated data the beginning
of the file. So chunks cannot be changed, moved, left out, added, cut off or taken from another file. The last chunk is
opened first, which tells a file that was cut before anything of it is used. Memory holds a chunk at a time.
"""

import base64
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bentos.serving.sealing.keys import KEY_BYTES, KeyProvider, provider_of
from bentos.serving.sealing.problem import KeyProblem
from tasks.base.errors import InputError
from tasks.base.state import hand_over, make_asked

SUFFIX = ".sealed"
MAGIC = b"sealed-rows-1\n"
KEY_VARIABLE = "MODEL_SERVICE_DATA_KEY"
"""Names the source of the key that opens sealed files."""
CHUNK = 1 << 20
"""Bytes of content a chunk."""

_CONTEXT = b"model_service file key 1"
_TAG_BYTES = 16
_MOST_HEADER = 1 << 16


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`key` names the wrapping key, `wrapped` is the file's data key under it in base 64."""

    key: str
    wrapped: str


def sealing_key(source: str) -> KeyProvider:
    """The key that `source` names; raises InputError when there is none."""
    try:
        return provider_of(source)
    except KeyProblem as error:
        raise InputError(f"the key to seal for cannot be used: {error}") from error


@contextmanager
def sealing(sink: IO[bytes], key: KeyProvider) -> Iterator[IO[bytes]]:
    """A stream whose content goes to `sink` sealed; what an error breaks off is no whole file."""
    writer = _Sealing(sink, key)
    yield writer  # type: ignore[misc]
    writer.finish()


@contextmanager
def opened(raw: IO[bytes], name: str, key: str | None = None) -> Iterator[IO[bytes]]:
    """The content of the sealed file `raw`, a stream that can seek.

    Args:
        name: of the file, in messages.
        key: source of the key; what MODEL_SERVICE_DATA_KEY names when None.

    Raises:
        InputError: no key, a wrong one, or a file that was changed; the stream raises it when it comes to the place.
    """
    with io.BufferedReader(_Opened(raw, name, key), CHUNK) as stream:
        yield stream


def opened_when_sealed(raw: IO[bytes], name: str, key: str | None = None) -> AbstractContextManager[IO[bytes]]:
    """`raw` from its beginning: its content when it is sealed, itself when not."""
    start = bytes(raw.read(len(MAGIC)))
    raw.seek(0)
    return opened(raw, name, key) if start == MAGIC else nullcontext(raw)


@contextmanager
def written_whole(path: Path, key: KeyProvider | None, *, asked: bool = False) -> Iterator[IO[bytes]]:
    """A stream into `path`, sealed when a `key` is given; after an error nothing is there that was not before.

    Args:
        asked: a person named the path; see `tasks.base.state`.
    """
    if asked:
        make_asked(path.parent)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    try:
        with unfinished.open("wb") as file:
            with sealing(file, key) if key else nullcontext(file) as sink:
                yield sink
            file.flush()
            os.fsync(file.fileno())
        if asked:
            hand_over(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def seal_file(source: Path, output: Path, key: str) -> str:
    """Writes `source` to `output` sealed for the key that the source `key` names; the key's name.

    Raises:
        InputError: the key or a file cannot be used.
    """
    recipient = sealing_key(key)
    with _readable(source) as rows:
        if rows.read(len(MAGIC)) == MAGIC:
            raise InputError(f"{source} is sealed already.")
        rows.seek(0)
        _copy(rows, output, recipient, asked=True)
    return recipient.name


def unseal_file(source: Path, output: Path, key: str | None = None) -> None:
    """Writes what the sealed file `source` holds to `output`, for its owner alone; nothing unless all of it opens.

    Raises:
        InputError: the key or a file cannot be used, or `source` is not sealed or was changed.
    """
    with _readable(source) as stored:
        if stored.read(len(MAGIC)) != MAGIC:
            raise InputError(f"{source} is not sealed.")
        stored.seek(0)
        with opened(stored, str(source), key) as rows:
            _copy(rows, output, None, asked=False)


def _readable(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error


def _copy(rows: IO[bytes], output: Path, key: KeyProvider | None, *, asked: bool) -> None:
    try:
        with written_whole(output, key, asked=asked) as sink:
            shutil.copyfileobj(rows, sink, CHUNK)
    except OSError as error:
        raise InputError(f"{output} cannot be written: {error.strerror or error}.") from error


class _Sealing(io.RawIOBase):
    """The writing side; `finish` makes the file whole."""

    def __init__(self, sink: IO[bytes], key: KeyProvider) -> None:
        data_key = secrets.token_bytes(KEY_BYTES)
        wrapped = base64.b64encode(key.wrap(data_key, _CONTEXT)).decode()
        self._cipher = AESGCM(data_key)
        self._header = MAGIC + msgspec.json.encode(_Header(key.name, wrapped)) + b"\n"
        self._sink = sink
        self._held = bytearray()
        self._number = 0
        self._size = 0
        sink.write(self._header)

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        self._held += view
        self._size += len(view)
        # A full chunk waits for what follows it: only then is it known not to be the last.
        start = 0
        while len(self._held) - start > CHUNK:
            self._put(self._held[start : start + CHUNK], last=False)
            start += CHUNK
        del self._held[:start]
        return len(view)

    def finish(self) -> None:
        self._put(self._held, last=True)

    def _put(self, content: bytearray, *, last: bool) -> None:
        self._sink.write(self._cipher.encrypt(_nonce(self._number, last), content, self._header))
        self._number += 1


class _Opened(io.RawIOBase):
    """The reading side."""

    def __init__(self, raw: IO[bytes], name: str, key: str | None) -> None:
        self._raw = raw
        self._name = name
        self._header, self._cipher = self._unwrapped(key)
        sealed = raw.seek(0, io.SEEK_END) - len(self._header)
        self._chunks = max(1, -(-sealed // (CHUNK + _TAG_BYTES)))
        self._size = sealed - self._chunks * _TAG_BYTES
        self._place = 0
        self._number, self._chunk = -1, b""
        self._load(self._chunks - 1)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("a place before the beginning")
        self._place = start + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        if self._place >= self._size:
            return 0
        number, start = divmod(self._place, CHUNK)
        if number != self._number:
            self._load(number)
        part = self._chunk[start : start + len(buffer)]
        buffer[: len(part)] = part
        self._place += len(part)
        return len(part)

    def _load(self, number: int) -> None:
        self._raw.seek(len(self._header) + number * (CHUNK + _TAG_BYTES))
        sealed = self._raw.read(CHUNK + _TAG_BYTES)
        try:
            nonce = _nonce(number, last=number == self._chunks - 1)
            self._chunk = self._cipher.decrypt(nonce, sealed, self._header)
        except (InvalidTag, ValueError) as error:
            raise self._changed() from error
        self._number = number

    def _unwrapped(self, source: str | None) -> tuple[bytes, AESGCM]:
        beginning = self._raw.read(len(MAGIC)) + self._raw.readline(_MOST_HEADER)
        try:
            header = msgspec.json.decode(beginning[len(MAGIC) :], type=_Header)
            wrapped = base64.b64decode(header.wrapped, validate=True)
        except (ValueError, msgspec.MsgspecError) as error:
            raise self._changed() from error
        source = source or os.environ.get(KEY_VARIABLE)
        if not source:
            raise InputError(
                f"{self._name} is sealed for key {header.key} and no key was given: set {KEY_VARIABLE}, or --data-key,"
                " to file:PATH or env:NAME."
            )
        try:
            key = provider_of(source)
            if key.name != header.key:
                raise KeyProblem(f"it was sealed for key {header.key}; the key given is {key.name}")
            return beginning, AESGCM(key.unwrap(wrapped, _CONTEXT))
        except (KeyProblem, ValueError) as error:
            raise InputError(f"{self._name} cannot be opened: {error}.") from error

    def _changed(self) -> InputError:
        return InputError(f"{self._name} was changed or cut short since it was sealed; copy it again.")


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
