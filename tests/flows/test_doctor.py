import json
import socket
from datetime import UTC, datetime
from importlib import metadata

import pytest

from flows import doctor
from tasks.base.files import write_whole
from tasks.base.machine import has_gpu
from tasks.base.settings import ServeSettings
from tasks.deployment.supervisor.record import LIVE, Live, Version


def test_this_installation_is_as_locked():
    assert all(good for good, _ in doctor.versions())


def test_both_runtimes_installed_at_once_are_found(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    [(good, text)] = doctor.one_onnxruntime()
    assert not good
    assert "overwrite each other" in text


def test_a_port_taken_by_a_stranger_is_named():
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        assert doctor._port("127.0.0.1", port, "service", ours=False) == (
            False,
            f"port {port} (service) is taken by another program",
        )


def test_the_ports_are_those_that_server_and_service_have(monkeypatch, tmp_path):
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(tmp_path))
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        server = tmp_path / "prefect" / "server.json"
        server.parent.mkdir()
        server.write_text(json.dumps({"url": "http://127.0.0.1:9/api"}))
        serve = ServeSettings(port=port)
        version = Version(tag="text_classifier:v1", path=tmp_path, content="c", serve=serve)
        write_whole(tmp_path / LIVE, Live(versions=[version], since=datetime.now(UTC)).model_dump_json())
        assert list(doctor.ports()) == [
            (True, "port 9 (Prefect server) is free"),
            # A version was live, but what answers there is not its service.
            (False, f"port {port} (service) is taken by another program"),
        ]


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
def test_a_session_that_fell_back_to_the_cpu_is_told_from_one_on_the_gpu(monkeypatch):
    monkeypatch.setattr(doctor, "has_gpu", lambda: True)
    *_, (good, text) = doctor.gpu()
    assert not good
    assert text.startswith("ONNX Runtime computes by CPUExecutionProvider, though CUDAExecutionProvider was asked for")


@pytest.mark.gpu
def test_a_gpu_is_really_computed_on():
    assert doctor.provider() == "CUDAExecutionProvider"


@pytest.mark.usefixtures("capsys")
def test_every_finding_is_a_line(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter([(True, "fine"), (False, "broken")]),))
    assert doctor.main() == 1
    assert capsys.readouterr().out == "ok   fine\nBAD  broken\n"


def test_telemetry_that_somebody_left_on_is_named_by_library_and_variable(monkeypatch):
    assert all(good for good, _ in doctor.telemetry())
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    monkeypatch.delenv("DO_NOT_TRACK")
    assert [text for good, text in doctor.telemetry() if not good] == [
        "onnxruntime may send telemetry by ORT_DISABLE_TELEMETRY=0: set ORT_DISABLE_TELEMETRY=1",
        "prefect may send telemetry by DO_NOT_TRACK=None: set PREFECT_SERVER_ANALYTICS_ENABLED=false, DO_NOT_TRACK=1",
    ]
