from pathlib import Path

import pytest

from tasks.deployment.supervisor.record import HISTORY, history, note
from tasks.deployment.supervisor.worker_process import folder, tail, worker_log


def test_a_note_is_kept_behind_what_a_crash_left_of_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    note(tmp_path, "deployed", "text_classifier:v1", "first")
    with (tmp_path / HISTORY).open("a") as stream:
        stream.write('{"time": "2026-')
    note(tmp_path, "rolled back", "text_classifier:v1", "second")
    assert [entry["why"] for entry in history(tmp_path)] == ["first", "second"]
    assert "line 2 cannot be read" in caplog.text


def test_a_note_about_a_text_that_is_no_unicode_is_kept(tmp_path: Path) -> None:
    note(tmp_path, "refused", "text_classifier:v1", "for '\ud800'")
    assert [entry["why"] for entry in history(tmp_path)] == ["for '?'"]


def test_a_living_worker_writes_on_into_the_log_that_is_looked_at(tmp_path: Path) -> None:
    (folder(tmp_path) / "logs").mkdir(parents=True)
    with worker_log(tmp_path, "text_classifier:v1").open("ab", buffering=0) as living:
        living.write(b"a line\n" * 1_000_000)
        log = worker_log(tmp_path, "text_classifier:v1")
        living.write(b"afterwards\n")
        assert tail(log).splitlines() == ["a line"] * 7 + ["afterwards"]
    assert log.stat().st_size < 4_000_000
