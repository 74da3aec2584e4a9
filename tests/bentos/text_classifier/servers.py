"""Applications and worker processes for tests."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import httpx
import psutil
from starlette.testclient import TestClient

from bentos.serving.guard.network import CERTIFICATE_VARIABLE
from bentos.serving.http.application import Application
from bentos.text_classifier.kind import SERVICE
from bentos.text_classifier.settings import Settings

ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def client(folder: Path, **settings: object) -> Iterator[TestClient]:
    """A started application in this process."""
    application = Application(SERVICE, folder, Settings(**settings))  # type: ignore[arg-type]
    with TestClient(application) as started:
        yield started


class Process(NamedTuple):
    url: str
    process: subprocess.Popen[bytes]
    told: dict[str, object]
    log: Path

    @property
    def port(self) -> int:
        return int(str(self.told["port"]))

    def connected(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)

    def said(self, content: bytes) -> bytes:
        """The beginning of what is said to these bytes; nothing when the connection is broken off."""
        with self.connected() as client:
            try:
                client.sendall(content)
                client.shutdown(socket.SHUT_WR)
                return client.recv(65_536)
            except (ConnectionError, BrokenPipeError):
                return b""


def fuzzed(described: str | Path, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """A run of schemathesis by the document at this address or path."""
    command = [
        str(Path(sys.executable).with_name("st")), "run", str(described),
        "--phases", "examples,coverage,fuzzing", "--continue-on-failure", "--generation-deterministic", "--no-color",
        *options,
    ]  # fmt: skip
    hooks = ROOT / "tests" / "bentos" / "serving" / "http" / "schemathesis_hooks.py"
    environment = os.environ | {"SCHEMATHESIS_HOOKS": hooks.stem, "PYTHONPATH": str(hooks.parent)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@contextmanager
def worker(
    folder: Path,
    logs: Path,
    *arguments: str,
    listener: int | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    descriptors: int | None = None,
) -> Iterator[Process]:
    """A ready worker process, on a free port or on an inherited listening socket; ended with SIGTERM.

    Args:
        environment: variables beside this process's own.
        descriptors: how many it may open; as many as this process when None.
    """

    def limited() -> None:
        assert descriptors
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    hear, tell = os.pipe()
    place = ["--port", "0"] if listener is None else ["--fd", str(listener)]
    passed = (tell,) if listener is None else (tell, listener)
    program = [sys.executable, "-m", "bentos.serving.worker", "text_classifier"]
    command = [*program, "--model", str(folder), "--ready-fd", str(tell)]
    log = logs / f"worker-{tell}-{len(list(logs.glob('worker-*')))}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, *place, *arguments],
            pass_fds=passed,
            stdout=stream,
            stderr=stream,
            env=os.environ | dict(environment),
            preexec_fn=limited if descriptors else None,
        )
    os.close(tell)
    try:
        with os.fdopen(hear) as ready:
            line = ready.readline()
        assert line, log.read_text()
        told = json.loads(line)
        scheme = "https" if CERTIFICATE_VARIABLE in environment else "http"
        yield Process(f"{scheme}://127.0.0.1:{told['port']}", process, told, log)
    finally:
        process.terminate()
        process.wait(120)


@contextmanager
def bentoml_served(folder: Path, home: Path) -> Iterator[tuple[str, list[int]]]:
    """`bentoml serve` with the model in `folder`, ready: its address and its workers' process ids."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    environment = os.environ | {
        "BENTOML_HOME": str(home),
        "MODEL_SERVICE_MODEL": str(folder),
        "MODEL_SERVICE_RECORDS": str(home / "records"),
    }
    service = "bentos.text_classifier.service:TextClassifier"
    command = [sys.executable, "-m", "bentoml", "serve", service, "--port", str(port)]
    log = home / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream)
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 240
        while not _ready(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        children = psutil.Process(process.pid).children(recursive=True)
        yield url, [child.pid for child in children if "_bentoml_impl.worker.service" in child.cmdline()]
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(120)


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz").status_code == 200
    except httpx.TransportError:
        return False
