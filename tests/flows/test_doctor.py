from importlib import metadata

import pytest

from flows import doctor


def test_this_installation_is_as_locked():
    assert all(good for good, _ in doctor.versions())


def test_both_runtimes_installed_at_once_are_found(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "1.0")
    [(good, text)] = doctor.one_onnxruntime()
    assert not good
    assert "overwrite each other" in text


def test_a_port_taken_by_a_stranger_is_named():
    import socket

    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        port = stranger.getsockname()[1]
        assert doctor._port(port, "service", ours=False) == (
            False,
            f"port {port} (service) is taken by another program",
        )


@pytest.mark.usefixtures("capsys")
def test_every_finding_is_a_line(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "CHECKS", (lambda: iter([(True, "fine"), (False, "broken")]),))
    assert doctor.main() == 1
    assert capsys.readouterr().out == "ok   fine\nBAD  broken\n"
