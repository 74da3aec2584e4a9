"""The supervisor: keeps the live version's workers running and swaps versions without a gap."""

import asyncio
import logging
import os
import signal
import socket
from pathlib import Path
from typing import Any

import msgspec

from bentos.serving.cpus import share
from bentos.serving.observations import Rule
from tasks.base.errors import DeploymentError
from tasks.deployment.supervisor import control, guardian, processes, watch
from tasks.deployment.supervisor.listener import address, url_of
from tasks.deployment.supervisor.record import Event, Version, change_live, note, read_live
from tasks.deployment.supervisor.watch import Standby
from tasks.deployment.supervisor.worker_process import Worker, tail, worker_log

logger = logging.getLogger(__name__)

READY_SECONDS = 60.0
DRAIN_SECONDS = 30.0
_BACKOFF_SECONDS = (0.1, 0.5, 2.0, 5.0, 10.0)
_STEADY_SECONDS = 30.0
_MOST_UNREADY = 3
"""So many starts in a row that end before the worker is ready, and the version is given up for the one before."""


class Supervisor:
    """Holds the listening socket; see the package's picture. One asyncio loop, no threads."""

    def __init__(self, state: Path, listener: socket.socket, guardian_pid: int) -> None:
        self.state = state
        self.listener = listener
        self.guardian_pid = guardian_pid
        self.version: Version | None = None
        self.workers: list[Worker] = []
        self.failures = 0
        self.unready = 0
        self.restarts = 0
        self._swapping = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serves until told to stop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        self._watch_guardian()
        self._adopt()
        commands = await control.serve(self.state, self._answer)
        logger.info("supervisor %d serves %s", os.getpid(), self.version.tag if self.version else "nothing yet")
        await self._stopping.wait()
        commands.close()
        self._signal_guardian()
        await self._end_watch()
        await asyncio.gather(*(worker.leave(DRAIN_SECONDS) for worker in self.workers))

    async def swap(self, version: Version, event: Event, why: str) -> None:
        """Brings `version` up beside the live one, lets it take the traffic, and lets the old one drain.

        Raises:
            DeploymentError: it did not come up; the old version answers as before.
        """
        async with self._swapping:
            await self._end_watch()
            before = self.version
            fresh = [self._start(version) for _ in range(_count(version))]
            standby = self._stand_by(version) if event == "deployed" else None
            try:
                await self._all_ready(version, fresh)
            except DeploymentError:
                await asyncio.gather(*(worker.leave(1.0) for worker in fresh))
                if standby:
                    await standby.leave()
                raise
            if standby and before:
                self._watch = asyncio.ensure_future(self._watch_over(version, before, standby))
            old, self.workers, self.version = self.workers, fresh, version
            self.failures = self.unready = 0
            change_live(self.state, version, event)
            about = before.tag if before and event == "withdrawn" else version.tag
            note(self.state, event, about, why, live=version.tag)
            for worker in fresh:
                self._keep_up(worker)
            # The swap has ended when nobody but the new version answers.
            await asyncio.gather(*(worker.leave(DRAIN_SECONDS) for worker in old))

    def _stand_by(self, version: Version) -> Standby | None:
        """Starts the live version's standby for the first minutes of `version`."""
        before = self.version
        if before is None or before.tag == version.tag or not before.there or not version.serve.rollout.watch_minutes:
            return None
        return Standby(before, self.state, {worker.pid for worker in self.workers})

    async def _watch_over(self, version: Version, before: Version, standby: Standby) -> None:
        restarts = self.restarts
        try:
            fault = await standby.watch(version.serve.rollout.watch_minutes, lambda: self.restarts - restarts)
        except asyncio.CancelledError:
            await standby.leave()
            raise
        self._watch = None
        if fault:
            logger.error("%s is withdrawn: %s", version.tag, fault)
            # The standby goes on answering for it until its last worker has left.
            failing = self.workers
            try:
                await self.swap(before, "withdrawn", fault)
                await asyncio.gather(*(asyncio.shield(worker.ended) for worker in failing))
            except DeploymentError:
                logger.exception("%s cannot come back; %s stays", before.tag, version.tag)
        await standby.leave()

    async def _end_watch(self) -> None:
        if self._watch:
            self._watch.cancel()
            await asyncio.wait([self._watch])
            self._watch = None

    def status(self) -> dict[str, Any]:
        host, port = address(self.listener)
        return {
            "tag": self.version.tag if self.version else None,
            "url": url_of(
                host, port, tls=self.version is not None and self.version.security.tls_certificate is not None
            ),
            "host": host,
            "port": port,
            "workers": [worker.pid for worker in self.workers if _is_ready(worker)],
            "wanted": _count(self.version) if self.version else 0,
            "supervisor": os.getpid(),
            "guardian": self.guardian_pid,
            "restarts": self.restarts,
            "watching": self._watch is not None,
        }

    async def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["command"]:
            case "status":
                return self.status()
            case "swap":
                version = Version.model_validate(request["version"])
                await self.swap(version, request["event"], request["why"])
                return self.status()
            case "relay":
                await self._end_watch()
                watch.set_rule(self.state, msgspec.convert(request["rule"], Rule | None))
                return {}
            case "stop":
                self._stopping.set()
                return {}
            case other:
                raise DeploymentError(f"the supervisor knows no command '{other}'")

    def _adopt(self) -> None:
        """Goes on with the live version's workers of an earlier life, ends all others, starts what is missing."""
        live = read_live(self.state)
        self.version = live.version if live else None
        watch.forget(self.state)
        for found in processes.find(self.state, "standby"):
            os.kill(found.pid, signal.SIGTERM)
        for found in processes.find(self.state, "worker"):
            try:
                worker = Worker(found.pid, found.version, ready=None)
            except ProcessLookupError:
                continue
            if self.version and found.version == self.version.tag and len(self.workers) < _count(self.version):
                logger.info("adopted worker %d", worker.pid)
                self.workers.append(worker)
                self._keep_up(worker)
            else:
                logger.info("ending worker %d of %s, left by an earlier life", worker.pid, worker.tag)
                self._in_background(worker.leave(DRAIN_SECONDS))
        if self.version:
            for _ in range(_count(self.version) - len(self.workers)):
                worker = self._start(self.version)
                self.workers.append(worker)
                self._keep_up(worker)

    def _start(self, version: Version) -> Worker:
        return Worker.start(version, self.state, self.listener.fileno())

    async def _all_ready(self, version: Version, fresh: list[Worker]) -> None:
        done, waiting = await asyncio.wait([worker.ready for worker in fresh], timeout=READY_SECONDS)
        if waiting or not all(ready.result() for ready in done):
            reason = f"was not ready within {READY_SECONDS:g} s" if waiting else "ended before it was ready"
            said = tail(worker_log(self.state, version.tag))
            raise DeploymentError(f"{version.tag} {reason}; its log ends with:\n{said}")

    def _keep_up(self, worker: Worker) -> None:
        self._in_background(self._replace_when_ended(worker))

    async def _replace_when_ended(self, worker: Worker) -> None:
        await asyncio.shield(worker.ended)
        if worker not in self.workers or self._stopping.is_set() or self.version is None:
            return
        self.unready = 0 if worker.ready.result() else self.unready + 1
        if self.unready >= _MOST_UNREADY and await self._give_up(self.version):
            return
        lived = asyncio.get_running_loop().time() - worker.started
        self.failures = 0 if lived > _STEADY_SECONDS else self.failures + 1
        pause = _BACKOFF_SECONDS[min(self.failures, len(_BACKOFF_SECONDS) - 1)] if self.failures else 0.0
        logger.warning("worker %d of %s ended; another one in %.1f s", worker.pid, worker.tag, pause)
        await asyncio.sleep(pause)
        # A swap or a stop may have come meanwhile.
        if worker in self.workers and not self._stopping.is_set():
            self.restarts += 1
            successor = self._start(self.version)
            self.workers[self.workers.index(worker)] = successor
            self._keep_up(successor)

    async def _give_up(self, version: Version) -> bool:
        """Returns from a version that was good and does not load any more, as when its files were harmed."""
        live = read_live(self.state)
        if live is None or live.previous is None or self._swapping.locked():
            return False
        said = tail(worker_log(self.state, version.tag))
        ended = f"{self.unready} workers ended before they were ready"
        why = f"it does not come up any more: {ended}; the log ends with:\n{said}"
        logger.error("%s is withdrawn: %s", version.tag, why)
        try:
            await self.swap(live.previous, "withdrawn", why)
        except DeploymentError:
            logger.exception("%s cannot come back either", live.previous.tag)
            return False
        return True

    def _watch_guardian(self) -> None:
        try:
            watched = os.pidfd_open(self.guardian_pid)
        except ProcessLookupError:
            self._replace_guardian()
            return
        asyncio.get_running_loop().add_reader(watched, self._guardian_ended, watched)

    def _guardian_ended(self, watched: int) -> None:
        asyncio.get_running_loop().remove_reader(watched)
        os.close(watched)
        processes.reap(self.guardian_pid)
        if not self._stopping.is_set():
            self._replace_guardian()

    def _replace_guardian(self) -> None:
        logger.warning("guardian %d ended; starting another one", self.guardian_pid)
        self.guardian_pid = guardian.spawn(self.state, self.listener, other=os.getpid()).pid
        self._watch_guardian()

    def _signal_guardian(self) -> None:
        try:
            os.kill(self.guardian_pid, signal.SIGTERM)
        except ProcessLookupError:
            return

    def _in_background(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _count(version: Version) -> int:
    return share(version.serve.workers, version.serve.threads)[0]


def _is_ready(worker: Worker) -> bool:
    return not worker.ended.done() and worker.ready.done() and worker.ready.result()
