import json
import os
import socket
import subprocess
import sys

import pytest

from flows import environment
from tests.conftest import ROOT


def test_what_a_person_has_set_stays(monkeypatch, tmp_path):
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(tmp_path / "a" / "b"))
    mine = {"PREFECT_HOME": "mine", "PREFECT_API_URL": "http://elsewhere/api"}
    environment.prepare(mine)
    assert mine["PREFECT_HOME"] == "mine"
    assert mine["PREFECT_API_URL"] == "http://elsewhere/api"
    assert mine["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_child_processes_elsewhere_find_the_same_folders(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_SERVICE_STATE", "state")
    variables = {"MODEL_SERVICE_STATE": "state", "BENTOML_HOME": "bentoml"}
    environment.prepare(variables)
    assert variables["MODEL_SERVICE_STATE"] == str(tmp_path / "state")
    assert variables["BENTOML_HOME"] == str(tmp_path / "bentoml")


def test_prefect_s_home_is_made_with_the_folders_above_it(monkeypatch, tmp_path):
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(tmp_path / "a" / "b"))
    environment.make_home()
    assert (tmp_path / "a" / "b" / "prefect").is_dir()


def test_a_server_that_does_not_answer_is_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(tmp_path))
    home = tmp_path / "prefect"
    home.mkdir()
    (home / environment.SERVER_RECORD).write_text(json.dumps({"url": "http://127.0.0.1:9/api"}))
    variables: dict[str, str] = {}
    environment.prepare(variables)
    assert "PREFECT_API_URL" not in variables


def test_a_server_elsewhere_is_not_told_the_secret_of_ours(monkeypatch, tmp_path):
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(tmp_path))
    monkeypatch.delenv(environment.SERVER_AUTH)
    elsewhere = {"PREFECT_API_URL": "http://elsewhere/api"}
    environment.prepare(elsewhere)
    assert environment.CLIENT_AUTH not in elsewhere
    here: dict[str, str] = {}
    environment.prepare(here)
    assert here[environment.CLIENT_AUTH] == here[environment.SERVER_AUTH] == environment.secret()


def test_every_process_has_the_same_secret_until_a_person_sets_another(monkeypatch, tmp_path):
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(tmp_path))
    monkeypatch.delenv(environment.SERVER_AUTH)
    environment.prepare({})
    assert environment.secret() == environment.secret()
    monkeypatch.setenv(environment.SERVER_AUTH, "ann:hers")
    assert environment.secret() == "ann:hers"


def test_another_program_on_the_port_of_a_dead_server_is_not_asked(monkeypatch, tmp_path):
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(tmp_path))
    (tmp_path / "prefect").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        stranger.settimeout(0.2)
        known = {
            "pid": 0,
            "url": f"http://127.0.0.1:{stranger.getsockname()[1]}/api",
            "secret": environment.secret_s_hash(),
        }
        (tmp_path / "prefect" / environment.SERVER_RECORD).write_text(json.dumps(known))
        assert environment.kept_server() is None
        with pytest.raises(TimeoutError):
            stranger.accept()


@pytest.mark.parametrize("command", [["flows.retrain", "--source", "x.csv"], ["flows.system", "up"], ["flows.doctor"]])
def test_a_state_folder_that_cannot_be_written_is_one_message(tmp_path, command):
    (tmp_path / "file").write_text("")
    state = tmp_path / "file" / "state"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environ | {"MODEL_SERVICE_STATE": str(state)},
        capture_output=True,
        text=True,
    )
    said = done.stdout + done.stderr
    assert done.returncode == (1 if command == ["flows.doctor"] else 2), said
    assert f"cannot be written: {tmp_path / 'file'} is a file, not a folder" in said
    assert "Traceback" not in said
