"""Where whole runs of the pipeline happen, apart from whatever else this machine holds."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx

from tests.conftest import ROOT


class Place:
    """A private home for the pipeline, with a Prefect server that stays up for the module.

    Every run gets the arguments `always`.
    """

    def __init__(self, folder: Path, api: str, *always: str) -> None:
        self.always = always
        self.state = folder / "state"
        self.bentoml = folder / "bentoml"
        self.bentoml.mkdir()
        self.port = _free_port()
        self.environ = {
            **os.environ,
            "MODEL_SERVICE_STATE": str(self.state),
            "BENTOML_HOME": str(self.bentoml),
            "PREFECT_API_URL": api,
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "flows.retrain", "--serve.port", str(self.port), *self.always, *arguments]

    def retrain(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run(self.command(*arguments))

    def rollback(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run([sys.executable, "-m", "flows.rollback", *arguments])

    def serving(self, command: str) -> None:
        self._run([sys.executable, "-m", "tasks.deployment", command])

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=ROOT, env=self.environ, capture_output=True, text=True, timeout=480)

    def predict(self, *texts: str) -> dict:
        answer = httpx.post(f"http://127.0.0.1:{self.port}/predict", json={"texts": texts}, timeout=120)
        answer.raise_for_status()
        return answer.json()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
