import subprocess
import sys
from pathlib import Path

import pytest

from tasks.base.state import ROOT, hand_over, make_asked, open_state, state_folder


def test_a_relative_folder_is_meant_from_where_the_command_was_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_SERVICE_STATE", "here")
    assert state_folder() == tmp_path / "here"


def test_an_empty_name_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODEL_SERVICE_STATE", "")
    assert state_folder() == ROOT / "data" / "state"


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_folder_that_was_left_open_is_closed_and_a_shared_one_stays(tmp_path: Path):
    for name, before, after in (("old", 0o755, 0o700), ("shared", 0o1777, 0o1777), ("kept", 0o500, 0o500)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(before)
        open_state(tmp_path / name)
        assert mode(tmp_path / name) == after


def test_what_is_written_is_its_user_s_alone_from_the_moment_it_exists(tmp_path: Path):
    open_state(tmp_path / "a" / "state")
    with (tmp_path / "a" / "state" / "key").open("w"):
        assert mode(tmp_path / "a" / "state" / "key") == 0o600
    assert mode(tmp_path / "a" / "state") == 0o700


def test_what_a_person_asked_for_has_the_modes_of_the_person_s_own_umask(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("MODEL_SERVICE_UMASK", "027")
    make_asked(tmp_path / "new" / "export")
    (tmp_path / "new" / "export" / "model").mkdir()
    (tmp_path / "new" / "export" / "model" / "graph").touch()
    hand_over(tmp_path / "new" / "export" / "model")
    found = {path.name: mode(path) for path in (tmp_path / "new", *(tmp_path / "new").rglob("*"))}
    assert found == {"new": 0o750, "export": 0o750, "model": 0o750, "graph": 0o640}


def test_the_umask_of_the_person_reaches_the_processes_that_a_command_starts(monkeypatch):
    monkeypatch.delenv("MODEL_SERVICE_UMASK")
    child = "import os, tasks; print(os.environ['MODEL_SERVICE_UMASK'])"
    parent = f"import subprocess, sys, tasks; subprocess.run([sys.executable, '-c', {child!r}])"
    done = subprocess.run([sys.executable, "-c", parent], cwd=ROOT, umask=0o027, capture_output=True, text=True)
    assert done.stdout == "027\n"
