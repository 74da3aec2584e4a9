"""What `benchmarks.faults` harms: a whole local system in a folder of its own, and clients that never stop asking."""

import asyncio
import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from flows.api import authorization
from flows.identity import living
from tasks.base.state import ROOT
from tasks.deployment.supervisor import lifecycle, processes
from tasks.deployment.supervisor.record import Live, read_live
from tasks.report.registry import disk
from tests.end_to_end.labelled_text import rows as labelled
from tests.tasks.deployment.supervisor.traffic import Connection

ROWS = 240
ASKED, ANSWER = "Please help, my refund is wrong since Monday", "billing/账单"
CLIENTS = 4
PAUSE_SECONDS = 0.05
STAGE = re.compile(r"  (\S.*?) +(?:([\d.]+) s|kept)   ")

Seen = TypeVar("Seen")


@dataclass
class Ran:
    """A retrain from a shell that has ended: status, seconds by stage (0 when kept), output, figures of its report."""

    status: int
    stages: dict[str, float] = field(default_factory=dict)
    output: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass
class Asked:
    """What the clients got: answers by version, and what was no right answer."""

    answers: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)


class LiveSystem:
    """Server, worker, keeper and service over one small table; `up` to `down`."""

    def __init__(self, folder: Path) -> None:
        self.state, self.home, self.report = folder / "state", folder / "bentoml", folder / "report.json"
        self.table = folder / "tickets.csv"
        self.write_table(ROWS)
        self.port = free_port()
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")},
            "PREFECT_SERVER_API_PORT": "0",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "3",
            "MODEL_SERVICE_STATE": str(self.state),
            "BENTOML_HOME": str(self.home),
        }
        # Rollbacks and broken versions are deployed from this process.
        os.environ["BENTOML_HOME"] = str(self.home)

    def write_table(self, count: int) -> None:
        with self.table.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("text", "label"), *labelled(count)])

    @property
    def parameters(self) -> dict[str, Any]:
        """Of a retrain that takes as little time as one can."""
        return {
            "source": str(self.table),
            "effort": "quick",
            "train": {"candidates": ["linear"]},
            "serve": {"port": self.port, "workers": 1, "rollout": {"watch_minutes": 0}},
        }

    def retrain_command(self, *more: str) -> list[str]:
        serve = ["--serve.port", str(self.port), "--serve.workers", "1", "--serve.rollout.watch-minutes", "0"]
        train = ["--source", str(self.table), "--effort", "quick", "--train.candidates", "linear"]
        return [sys.executable, "-m", "flows.retrain", *train, *serve, "--report", str(self.report), *more]

    def system(self, command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flows.system", command], cwd=ROOT, env=self.environ, capture_output=True, text=True
        )
        if done.returncode:
            raise RuntimeError(f"`{command}` ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def retrain(self, *more: str, before: Sequence[str] = (), kill: tuple[int, float] | None = None) -> Ran:
        """Runs a retrain to its end, or kills it.

        Args:
            before: the beginning of the command line, of a program that runs the rest of it.
            kill: SIGKILL once so many stages have ended and so many seconds more have gone.
        """
        self.report.unlink(missing_ok=True)
        ran = Ran(0)
        with subprocess.Popen(
            [*before, *self.retrain_command(*more)],
            cwd=ROOT, env=self.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:  # fmt: skip
            assert process.stdout
            if kill and kill[0] == 0:
                until(lambda: any((self.state / "prefect" / "running").glob("*.json")), "the beginning of the run")
                _kill_after(process, kill[1])
            for line in process.stdout:
                ran.output += line
                if match := STAGE.match(line):
                    ran.stages[match[1]] = float(match[2] or 0)
                    if kill and kill[0] == len(ran.stages):
                        _kill_after(process, kill[1])
            ran.status = process.wait()
        if self.report.exists():
            test = json.loads(self.report.read_text())["test"] or {}
            ran.figures = {name: test.get(name) for name in ("accuracy", "macro_f1", "confusion")}
        return ran

    def live(self) -> Live:
        live = read_live(self.state)
        assert live
        return live

    def record(self, name: str) -> dict[str, Any]:
        return json.loads((self.state / "prefect" / f"{name}.json").read_text())

    def api(self, method: str, path: str, **body: Any) -> Any:
        known = authorization((self.state / "prefect" / "api.secret").read_text())
        url = f"{self.record('server')['url']}{path}"
        answer = httpx.request(method, url, json=body, headers=known, timeout=30)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def ask_for_run(self) -> str:
        """A retrain through Prefect; returns its id once a process carries it."""
        deployments = {one["name"]: one["id"] for one in self.api("POST", "/deployments/filter")}
        path = f"/deployments/{deployments['retrain']}/create_flow_run"
        run = self.api("POST", path, parameters={"config": self.parameters})["id"]
        until(lambda: (self.state / "prefect" / "running" / f"{run}.json").exists(), "the run's beginning")
        return run

    def ended(self, run: str) -> str:
        """The run's last state, once it is final, and its message."""

        def final() -> str | None:
            found = self.api("GET", f"/flow_runs/{run}")
            return f"{found['state_type']} {found['state']['message'] or ''}".rstrip() if found["end_time"] else None

        return until(final, "the end of the run")

    def kill(self, name: str) -> None:
        """SIGKILL of `server`, `worker` or `keeper`."""
        os.kill(self.record(name)["pid"], signal.SIGKILL)

    def returned(self, name: str, former: int) -> bool:
        known = self.record(name)
        return known["pid"] != former and living(known) is not None

    def kill_serving(self, *roles: processes.Role) -> None:
        """At one blow: none has the time to start another one in place of those that were first."""
        pids = [found.pid for role in roles for found in processes.find(self.state, role)]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in pids:
                os.kill(pid, number)

    def whole(self) -> bool:
        """One of each serving process, every one answering, and nothing beside them."""
        running = lifecycle.status(self.state)
        roles = sorted(found.role for found in processes.find(self.state))
        return bool(running and len(running["workers"]) == 1 and roles == ["guardian", "supervisor", "worker"])

    def disk(self) -> dict[str, int]:
        """Bytes by place, the store of bentos among them."""
        return disk(self.state)

    @contextmanager
    def asked(self) -> Iterator[Asked]:
        """Clients ask all the while, half of them on connections that they keep, half on a new one each time."""
        got, stop = Asked(), threading.Event()

        async def client(keep: bool) -> None:
            connection = Connection("127.0.0.1", self.port)
            while not stop.is_set():
                try:
                    _judge(got, *await asyncio.wait_for(connection.ask([ASKED]), 30))
                except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                    got.failed.append(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}")
                    connection.close()
                if not keep:
                    connection.close()
                await asyncio.sleep(PAUSE_SECONDS)
            connection.close()

        async def clients() -> None:
            await asyncio.gather(*(client(number % 2 == 0) for number in range(CLIENTS)))

        thread = threading.Thread(target=lambda: asyncio.run(clients()))
        thread.start()
        try:
            yield got
        finally:
            stop.set()
            thread.join()

    def down(self) -> list[str]:
        """Ends everything; returns the command lines of what is left all the same."""
        self.system("down")
        return [" ".join(process.cmdline()) for process in self._processes()]

    def _processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                mine = process.environ().get("MODEL_SERVICE_STATE") == str(self.state)
                if mine and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found


def _judge(got: Asked, status: int, body: bytes) -> None:
    answer = json.loads(body) if status == 200 else {}
    label = answer["predictions"][0]["label"] if answer else None
    if label == ANSWER:
        got.answers[answer["model"]["bento"]] += 1
    else:
        got.failed.append(f"status {status}, {label or body[:200]!r}")


def _kill_after(process: subprocess.Popen[str], seconds: float) -> None:
    time.sleep(seconds)
    process.kill()


def until(look: Callable[[], Seen | None], what: str, seconds: float = 240.0) -> Seen:
    """What `look` gives once it gives something; an API that does not answer is asked again."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if seen := look():
                return seen
        except (httpx.HTTPError, OSError, ValueError):
            pass
        time.sleep(0.2)
    raise RuntimeError(f"{what} did not come within {seconds:.0f} s")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
