"""Keeps small what grows while a local system runs: logs, results, the database file."""

import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

_LOCK_SECONDS = 60.0


def trim_logs(logs: Iterable[Path], most: int) -> int:
    """Cuts each file that is larger than `most` bytes to its last half of that; returns the bytes freed.

    The file stays the same one, because processes that run have it open and append to it. What they write while
    the file is being cut stands before the tail.
    """
    freed = 0
    for log in logs:
        size = log.stat().st_size
        if size <= most:
            continue
        # Appending, so that nothing is written over what a process has just put at the beginning.
        with log.open("ab+", buffering=0) as stream:
            stream.seek(-(most // 2), 2)
            stream.readline()
            tail = stream.read()
            stream.truncate(0)
            stream.write(tail)
        freed += size - len(tail)
    return freed


def forget_files(folder: Path, days: float) -> int:
    """Removes files below `folder` that were last written longer than `days` ago; returns the bytes freed."""
    oldest = time.time() - 86400 * days
    freed = 0
    for file in folder.rglob("*") if folder.is_dir() else ():
        if file.is_file() and (status := file.stat()).st_mtime < oldest:
            file.unlink()
            freed += status.st_size
    return freed


def compact(database: Path, share: float) -> int:
    """Gives the free pages of an SQLite file back when they are more than `share` of it; returns the bytes freed.

    Deleting rows alone never makes the file smaller. Writers wait meanwhile.

    Raises:
        sqlite3.OperationalError: another process held the database for a minute.
    """
    if not database.exists():
        return 0
    before = database.stat().st_size
    with closing(sqlite3.connect(database, timeout=_LOCK_SECONDS, isolation_level=None)) as connection:
        (free,), (pages,) = (
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("freelist_count", "page_count")
        )
        if free <= share * pages:
            return 0
        connection.execute("VACUUM")
        # In write-ahead mode the shrunken pages lie in the log until it is taken over.
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return before - database.stat().st_size
