"""Which processes belong to a deployment, and how they are ended. Read from the process table by a mark."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import psutil

Role = Literal["guardian", "supervisor", "worker", "standby", "trial"]

_STATE = "SERVING_STATE"
_ROLE = "SERVING_ROLE"
_VERSION = "SERVING_VERSION"


def marked(state: Path, role: Role, version: str = "") -> dict[str, str]:
    """The environment of a process of the deployment whose state lies in `state`."""
    return os.environ | {_STATE: str(state.resolve()), _ROLE: role, _VERSION: version}


class Found:
    """A living process of a deployment."""

    def __init__(self, process: psutil.Process, environment: dict[str, str]) -> None:
        self.pid = process.pid
        self.role = environment[_ROLE]
        self.version = environment[_VERSION]


def find(state: Path, role: Role | None = None) -> list[Found]:
    """The deployment's living processes, oldest first, whoever their parent is by now."""
    mark = str(state.resolve())
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
            if environment.get(_STATE) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append((process.create_time(), process.pid, Found(process, environment)))
        except psutil.Error:
            continue  # it ended meanwhile, or is another user's
    return [entry for _, _, entry in sorted(found) if role is None or entry.role == role]


def end(pids: Iterable[int], grace: float) -> None:
    """Asks the processes to finish, and kills what still lives after `grace` seconds; returns when all have ended."""
    watched = {}
    for pid in pids:
        try:
            watched[pid] = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
    try:
        _signal(watched, signal.SIGTERM)
        if not _wait(watched, grace):
            _signal(watched, signal.SIGKILL)
            _wait(watched, 10)
    finally:
        for descriptor in watched.values():
            os.close(descriptor)


def _signal(watched: dict[int, int], number: signal.Signals) -> None:
    for descriptor in watched.values():
        try:
            signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            continue


def _wait(watched: dict[int, int], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while alive := [pid for pid in watched if _lives(pid)]:
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
        for pid in alive:
            reap(pid)
    return True


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def reap(pid: int) -> None:
    """Lets an ended child go; nothing for a process that is no child of this one."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
