"""Append-only JSON lines written off the request path: feedback, predictions, requests.

Every process writes files of its own, `<kind>-<UTC time>-<pid>-<number>.jsonl`, and starts a new one when
the last is full. A reader takes the files of a kind in the order of their names. Files may be rewritten,
rotated, removed or restored while the process lives: see `appending.py`.
"""

import logging
import os
import threading
import time
from asyncio import AbstractEventLoop, Future, get_running_loop
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from bentos.serving.records.appending import append

logger = logging.getLogger(__name__)

_SECONDS = 0.25
_MOST_QUEUED = 100_000
_SEGMENTS = 16


class AccessRecord(msgspec.Struct, frozen=True):
    time: float
    id: str
    method: str
    path: str
    status: int
    milliseconds: float
    client: str


class RecordsFull(Exception):
    """The records of this kind have reached their size, or the disk is full."""


class RecordWriter:
    """Writes records of one kind. For one event loop; a thread of its own does the writing.

    Args:
        folder: where the files go; made when it is not there.
        kind: the beginning of the files' names.
        max_bytes: size of all files of the kind.
        keep_all: refuse new records at that size, instead of deleting the oldest file.
    """

    def __init__(self, folder: Path, kind: str, max_bytes: int, *, keep_all: bool) -> None:
        self._folder = folder
        self._kind = kind
        self._max_bytes = max_bytes
        self._keep_all = keep_all
        self._queue: deque[tuple[Callable[[], Sequence[msgspec.Struct]], Future[None] | None]] = deque()
        self._wake = threading.Event()
        self._closing = False
        self._file: Path | None = None
        self._number = 0
        self._loop: AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def add(self, make: Callable[[], Sequence[msgspec.Struct]]) -> None:
        """Records what `make` gives, called in the writing thread; dropped and counted when too much waits."""
        if len(self._queue) >= _MOST_QUEUED:
            self.dropped += 1
            return
        self._queue.append((make, None))
        self._start()

    async def store(self, record: msgspec.Struct) -> None:
        """Returns once the record is on the disk.

        Raises:
            RecordsFull: it cannot be stored.
        """
        self._loop = get_running_loop()
        stored: Future[None] = self._loop.create_future()
        self._queue.append((lambda: [record], stored))
        self._start()
        self._wake.set()
        await stored

    def close(self) -> None:
        """Writes what is queued and ends the thread."""
        self._closing = True
        self._wake.set()
        if self._thread:
            self._thread.join()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name=f"{self._kind} records", daemon=True)
            self._thread.start()

    def _write_all(self) -> None:
        while not (self._closing and not self._queue):
            self._wake.wait(_SECONDS)
            self._wake.clear()
            if self._queue:
                self._write_queued()

    def _write_queued(self) -> None:
        lines: list[bytes] = []
        waiting: list[Future[None]] = []
        while self._queue and len(lines) < 10_000:
            make, stored = self._queue.popleft()
            lines += [msgspec.json.encode(record) + b"\n" for record in make()]
            if stored:
                waiting.append(stored)
        refused: Exception | None = None
        try:
            self._append(b"".join(lines), durable=bool(waiting))
        except (OSError, RecordsFull) as error:
            logger.error("%d %s records cannot be stored: %s", len(lines), self._kind, error)
            self.dropped += len(lines)
            refused = RecordsFull(str(error))
        for stored in waiting:
            assert self._loop
            self._loop.call_soon_threadsafe(_settle, stored, refused)

    def _append(self, content: bytes, durable: bool) -> None:
        # Anew each time: the folder may have been put away or restored.
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._file is None or _size(self._file) + len(content) > self._max_bytes // _SEGMENTS:
            self._file = self._next_file()
        append(self._file, content, durable=durable)

    def _next_file(self) -> Path:
        self._make_room()
        moment = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
        self._number += 1
        return self._folder / f"{self._kind}-{moment}-{os.getpid()}-{self._number:06}.jsonl"

    def _make_room(self) -> None:
        files = sorted(self._folder.glob(f"{self._kind}-*.jsonl"))
        sizes = {file: _size(file) for file in files}
        total = sum(sizes.values())
        limit = self._max_bytes - self._max_bytes // _SEGMENTS
        if total > limit and self._keep_all:
            raise RecordsFull(f"{self._folder} holds {total} bytes of {self._kind}; read them and take them away")
        for file in files:
            if total <= limit:
                break
            file.unlink(missing_ok=True)
            total -= sizes[file]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        # Removed by another process, to make room.
        return 0


def _settle(stored: "Future[None]", refused: Exception | None) -> None:
    if stored.done():
        return
    if refused:
        stored.set_exception(refused)
    else:
        stored.set_result(None)
