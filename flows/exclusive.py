"""One retrain at a time on this machine, by a lock that the kernel frees when its holder dies."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from flows.console import Console
from flows.running import waiting
from tasks.base.errors import InputError

POLL_SECONDS = 1.0


@contextlib.contextmanager
def exclusive(state: Path, *, wait: bool, console: Console) -> Iterator[None]:
    """Holds the retrain lock; a second run queues and says so.

    Raises:
        InputError: another run holds the lock and `wait` is False.
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / "retrain.lock").open("a+") as lock:
        if not _taken(lock.fileno()):
            holder = _holder(lock)
            if not wait:
                raise InputError(f"another retrain is running ({holder}); leave out --no-wait to queue behind it")
            reason = f"another retrain is running ({holder}); waiting for it to end"
            console.line(reason)
            with waiting(reason):
                while not _taken(lock.fileno()):
                    time.sleep(POLL_SECONDS)
        lock.seek(0)
        lock.truncate()
        lock.write(json.dumps({"pid": os.getpid(), "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"}))
        lock.flush()
        yield


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(lock: object) -> str:
    try:
        lock.seek(0)  # type: ignore[attr-defined]
        facts = json.loads(lock.read())  # type: ignore[attr-defined]
    except ValueError:
        return "it has just begun"
    return f"process {facts['pid']}, since {facts['since']}"
