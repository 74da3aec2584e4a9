"""Applications and worker processes for tests."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from starlette.testclient import TestClient

from bentos.text_classifier.app import Application
from bentos.text_classifier.network import CERTIFICATE_VARIABLE
from bentos.text_classifier.settings import ServiceSettings


@contextmanager
def client(folder: Path, **settings: object) -> Iterator[TestClient]:
    """A started application in this process."""
    application = Application(folder, ServiceSettings(**settings))  # type: ignore[arg-type]
    with TestClient(application) as started:
        yield started


class Process(NamedTuple):
    url: str
    process: subprocess.Popen[bytes]
    told: dict[str, object]
    log: Path


@contextmanager
def worker(
    folder: Path,
    logs: Path,
    *arguments: str,
    listener: int | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Process]:
    """A ready worker process, on a free port or on an inherited listening socket; ended with SIGTERM.

    Args:
        environment: variables beside this process's own.
    """
    hear, tell = os.pipe()
    place = ["--port", "0"] if listener is None else ["--fd", str(listener)]
    passed = (tell,) if listener is None else (tell, listener)
    command = [sys.executable, "-m", "bentos.text_classifier.worker", "--model", str(folder), "--ready-fd", str(tell)]
    log = logs / f"worker-{tell}-{len(list(logs.glob('worker-*')))}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, *place, *arguments],
            pass_fds=passed,
            stdout=stream,
            stderr=stream,
            env=os.environ | dict(environment),
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
        process.wait(30)
