"""One worker process as the supervisor sees it: started from the bento's source, ready, ended."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from bentos.serving.cpus import share
from bentos.serving.process import ALLOCATOR
from bentos.serving.relay import RULE_VARIABLE
from tasks.base.state import ROOT
from tasks.base.upkeep import trim_logs
from tasks.deployment.supervisor import protection
from tasks.deployment.supervisor.control import folder
from tasks.deployment.supervisor.processes import Role, marked
from tasks.deployment.supervisor.record import Version
from tasks.release.package import bento_kind

MODULE = "bentos.serving.worker"
_LOG_BYTES = 5_000_000


def launch(
    version: Version,
    state: Path,
    place: list[str],
    log: IO[bytes],
    passed: tuple[int, ...],
    role: Role = "worker",
) -> subprocess.Popen[bytes]:
    """Starts a process of `version` that listens at `place` (`--fd N` or `--port N`), in a session of its own.

    What is no `worker` answers nobody on its own account, and counts and records nothing.
    """
    _, threads = share(version.serve.workers, version.serve.threads)
    program = [sys.executable, "-m", MODULE, bento_kind(version.path)]
    command = [*program, *place, "--bento", version.tag, "--threads", str(threads)]
    environment = ALLOCATOR | marked(state, role, version.tag)
    # A bento is signed: nothing may be written into it, compiled code neither.
    environment["PYTHONPYCACHEPREFIX"] = str(folder(state) / "pycache")
    if role == "worker":
        environment["MODEL_SERVICE_COUNTERS"] = str(folder(state) / "counters")
        environment["MODEL_SERVICE_RECORDS"] = str(state / "records")
        environment[RULE_VARIABLE] = str(folder(state) / "relay.json")
    for name in ("PYTHONPATH", "MODEL_SERVICE_MODEL"):
        environment.pop(name, None)  # code and model are the bento's own
    environment |= protection.environment(version.security, state, role)
    return subprocess.Popen(
        protection.inside(command, version),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=passed,
        start_new_session=True,
    )


def worker_log(state: Path, tag: str) -> Path:
    """Where the workers of a version write what they have to say; a long log is cut to its end."""
    file = folder(state) / "logs" / f"{tag.partition(':')[2]}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists():
        # Not put away under another name: living workers of this version write on into the file they have open.
        trim_logs([file], _LOG_BYTES)
    return file


def tail(file: Path, lines: int = 8) -> str:
    """The last lines of a log."""
    if not file.exists():
        return ""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - 8192))
        return "\n".join(stream.read().decode(errors="replace").strip().splitlines()[-lines:])


class Worker:
    """A living worker, own child or adopted. `ended` completes when it has gone, `ready` once it answers."""

    def __init__(
        self, pid: int, tag: str, ready: int | None = None, child: subprocess.Popen[bytes] | None = None
    ) -> None:
        loop = asyncio.get_running_loop()
        self.pid = pid
        self.tag = tag
        self._child = child
        self.started = time.monotonic()
        self.ready: asyncio.Future[bool] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._process = os.pidfd_open(pid)
        loop.add_reader(self._process, self._end)
        if ready is None:
            self.ready.set_result(True)
        else:
            loop.add_reader(ready, self._hear, ready)

    @classmethod
    def start(cls, version: Version, state: Path, listener: int, role: Role = "worker") -> "Worker":
        hear, tell = os.pipe()
        try:
            with worker_log(state, version.tag).open("ab") as log:
                place = ["--fd", str(listener), "--ready-fd", str(tell)]
                process = launch(version, state, place, log, (listener, tell), role)
        finally:
            os.close(tell)
        return cls(process.pid, version.tag, hear, process)

    def signal(self, number: signal.Signals) -> None:
        if not self.ended.done():
            signal.pidfd_send_signal(self._process, number)

    async def leave(self, grace: float) -> None:
        """Lets the worker finish what it has and go; kills it after `grace` seconds."""
        self.signal(signal.SIGTERM)
        done, _ = await asyncio.wait([self.ended], timeout=grace)
        if not done:
            self.signal(signal.SIGKILL)
            await self.ended

    def _hear(self, ready: int) -> None:
        told = os.read(ready, 64)
        asyncio.get_running_loop().remove_reader(ready)
        os.close(ready)
        if not self.ready.done():
            self.ready.set_result(bool(told))

    def _end(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process)
        os.close(self._process)
        if self._child:
            self._child.wait()
        if not self.ready.done():
            self.ready.set_result(False)
        self.ended.set_result(None)
