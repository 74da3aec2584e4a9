"""The guardian: holds the listening socket and starts the supervisor again when it dies. Keeps no state."""

import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from tasks.base.state import ROOT
from tasks.deployment.supervisor.control import folder
from tasks.deployment.supervisor.processes import Role, marked, reap

logger = logging.getLogger(__name__)

_STEADY_SECONDS = 10.0
_PAUSE_SECONDS = 1.0


def spawn(state: Path, listener: socket.socket, role: Role = "guardian", other: int = 0) -> subprocess.Popen[bytes]:
    """Starts a guardian or a supervisor in the background, with the process id of its counterpart (0: none yet)."""
    log = folder(state) / "logs" / "serving.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        return subprocess.Popen(
            command(state, listener, role, other),
            cwd=ROOT,
            env=marked(state, role),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            pass_fds=(listener.fileno(),),
            start_new_session=True,
        )


def command(state: Path, listener: socket.socket, role: Role, other: int = 0) -> list[str]:
    arguments = ["--state", str(state.resolve()), "--fd", str(listener.fileno()), "--other", str(other)]
    return [sys.executable, "-m", "tasks.deployment", role, *arguments]


def run(state: Path, listener: socket.socket, supervisor: int = 0) -> None:
    """Keeps a supervisor alive until SIGTERM or SIGINT, which it hands on; returns when that one has ended.

    Args:
        supervisor: a living one to watch, when the guardian before this one died; 0 to start one.
    """
    stopping = False

    def stop(number: int, frame: object) -> None:
        nonlocal stopping
        if not stopping:
            _pass_on(supervisor)
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while not stopping:
        started = time.monotonic()
        if not supervisor:
            supervisor = spawn(state, listener, "supervisor", os.getpid()).pid
            if stopping:
                _pass_on(supervisor)
        _wait(supervisor)
        if not stopping:
            logger.warning("supervisor %d ended; starting another one", supervisor)
            supervisor = 0
            # One that cannot start must not keep a CPU busy.
            time.sleep(0 if time.monotonic() - started > _STEADY_SECONDS else _PAUSE_SECONDS)


def _pass_on(supervisor: int) -> None:
    if supervisor:
        try:
            os.kill(supervisor, signal.SIGTERM)
        except ProcessLookupError:
            return


def _wait(pid: int) -> None:
    """Returns when the process has ended, be it a child or not."""
    try:
        watched = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([watched], [], [])
    finally:
        os.close(watched)
    reap(pid)
