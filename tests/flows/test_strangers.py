"""Processes of this system that run without the secret of Prefect's API."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows import system

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]


def test_a_worker_and_a_keeper_of_before_are_ended_keeper_first_and_those_with_the_secret_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(tmp_path / "state"))
    backgrounds = {name: system.Background(name) for name in system.PROCESSES}
    started = {name: background.start(SLEEP, dict(os.environ)) for name, background in backgrounds.items()}
    try:
        assert system._end_strangers() == []
        for name in ("worker", "keeper"):
            known = backgrounds[name].facts()
            del known["secret"]
            backgrounds[name].record.write_text(json.dumps(known))
        assert system._end_strangers() == ["keeper", "worker"]
        assert backgrounds["keeper"].process() is backgrounds["worker"].process() is None
        assert backgrounds["server"].process() == started["server"]
        assert capsys.readouterr().err.count("ran without this project's secret") == 2
    finally:
        for process in started.values():
            subprocess.run(["kill", str(process.pid)], check=False, capture_output=True)


def test_what_runs_by_another_secret_is_a_stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(tmp_path / "state"))
    worker = system.Background("worker")
    worker.start(SLEEP, dict(os.environ))
    monkeypatch.setenv("PREFECT_SERVER_API_AUTH_STRING", "ann:another")
    assert system._end_strangers() == ["worker"]
