from pathlib import Path

import pytest

from tasks.base.state import ROOT, state_folder


def test_a_relative_folder_is_meant_from_where_the_command_was_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODEL_SERVICE_STATE", "here")
    assert state_folder() == tmp_path / "here"


def test_an_empty_name_is_none(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MODEL_SERVICE_STATE", "")
    assert state_folder() == ROOT / "data" / "state"
