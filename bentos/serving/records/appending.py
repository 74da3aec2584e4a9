"""The one way to add lines to a file that others may replace, remove or cut meanwhile: records, history, observations.

An append opens the file by its name, holds its lock (flock) while it writes, and looks afterwards whether its lines
stand in the file that has the name now. Who rewrites a file (`replacing`) holds the lock of the old one until the new
one has its name, so between these two each line is in the file once. Against programs that know no lock, such as a
restore from a backup, lines are written again when the file was replaced under them: they may stand there twice.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def append(file: Path, content: bytes, *, durable: bool = False) -> None:
    """Adds `content`, which ends in a newline, to `file`; it is made for its owner alone when it is not there.

    Args:
        durable: return once the lines are on the disk.

    Raises:
        OSError: they cannot be written; the file is as it was.
    """
    while True:
        with _held(file, os.O_APPEND) as descriptor:
            stands = _add(descriptor, content)
            if durable:
                os.fsync(descriptor)
            if stands and _is_named(file, descriptor):
                return


@contextmanager
def replacing(file: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The content of `file` and a stream for what takes its place at the end of the block; appends wait until then.

    After an error the file is as it was.
    """
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    with _held(file) as descriptor:
        mode = os.fstat(descriptor).st_mode & 0o777
        try:
            with (
                os.fdopen(os.dup(descriptor), "rb") as before,
                os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as after,
            ):
                yield before, after
                after.flush()
                os.fsync(after.fileno())
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)


def whole_lines(file: Path) -> Iterator[bytes]:
    """The file's lines, each with its newline, none where there is no file; a last one without is being written."""
    try:
        stream = file.open("rb")
    except FileNotFoundError:
        return
    with stream:
        yield from (line for line in stream if line.endswith(b"\n"))


@contextmanager
def _held(file: Path, flags: int = 0) -> Iterator[int]:
    """A descriptor of the file that has this name now, under its lock."""
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_named(file, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)


def _is_named(file: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _add(descriptor: int, content: bytes) -> bool:
    """Whether the content stands in the file as lines of its own."""
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        # What a crash or an older backup left of a line.
        content = b"\n" + content
    view = memoryview(content)
    try:
        while view:
            view = view[os.write(descriptor, view) :]
    except OSError:
        os.ftruncate(descriptor, min(size, os.fstat(descriptor).st_size))
        raise
    start = os.lseek(descriptor, 0, os.SEEK_CUR) - len(content)
    before = 1 if start > 0 and not content.startswith(b"\n") else 0
    return os.pread(descriptor, len(content) + before, start - before) == b"\n" * before + content
