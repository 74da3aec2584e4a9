import errno
import io
import json
import shutil

import pytest
from prefect import flow

from flows import stages
from flows.console import Console
from flows.stages import MANIFEST, Stages
from tasks.base.errors import PipelineError
from tasks.base.manifests import Package

pytestmark = pytest.mark.usefixtures("prefect_server")


def run(folder, work, *depends_on, keep=True):
    said = io.StringIO()

    @flow
    def one():
        return Stages(folder, Console(said)).run("stage", work, depends_on, lambda made: made.tag, keep=keep)

    return one(), said.getvalue()


class Work:
    def __init__(self, tag="made"):
        self.calls = 0
        self.tag = tag

    def __call__(self, folder, progress):
        self.calls += 1
        (folder / "file").write_text(self.tag)
        progress(0.5, "half")
        return Package(tag=self.tag, path=folder, size_bytes=1, content="c")


def test_a_finished_stage_is_kept_by_content(tmp_path):
    source = tmp_path / "source.csv"
    source.write_text("one")
    work = Work()
    first, _ = run(tmp_path / "stages", work, source)
    second, said = run(tmp_path / "stages", work, source)
    assert (work.calls, second) == (1, first)
    assert "kept" in said


def test_changed_bytes_in_the_same_path_are_noticed(tmp_path):
    source = tmp_path / "source.csv"
    source.write_text("one")
    work = Work()
    run(tmp_path / "stages", work, source)
    source.write_text("two")
    run(tmp_path / "stages", work, source)
    assert work.calls == 2


def test_a_stage_that_died_starts_from_its_own_folder(tmp_path):
    def dies(folder, progress):
        (folder / "checkpoint").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "stages", dies, "x")
    seen = []

    def goes_on(folder, progress):
        seen.append((folder / "checkpoint").read_text())
        return Work()(folder, progress)

    run(tmp_path / "stages", goes_on, "x")
    assert seen == ["half"]


def test_removed_files_of_a_kept_stage_are_made_again(tmp_path):
    work = Work()
    first, _ = run(tmp_path / "stages", work, "x")
    (first.path / MANIFEST).unlink()
    run(tmp_path / "stages", work, "x")
    assert work.calls == 2
    assert json.loads((first.path / MANIFEST).read_text())["tag"] == "made"


@pytest.mark.parametrize("harmed", ["", "mad", "MADE", None], ids=["empty", "cut short", "other bytes", "gone"])
def test_a_kept_stage_whose_files_were_harmed_is_made_again_from_nothing(tmp_path, harmed):
    work = Work()
    first, _ = run(tmp_path / "stages", work, "x")
    (first.path / "left").write_text("of the harmed one")
    if harmed is None:
        (first.path / "file").unlink()
    else:
        (first.path / "file").write_text(harmed)
    _, said = run(tmp_path / "stages", work, "x")
    assert work.calls == 2
    assert "kept" not in said
    assert (first.path / "file").read_text() == "made"
    assert not (first.path / "left").exists()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "file"),
        shutil.Error([("from", "to", "[Errno 28] No space left on device: 'to'")]),
    ],
    ids=["file", "tree"],
)
def test_a_full_disk_is_told_in_one_message_and_the_next_run_begins_the_stage_again(tmp_path, error):
    def full(folder, progress):
        raise error

    with pytest.raises(PipelineError, match=r"the disk is full: stage cannot write into .*Free space there"):
        run(tmp_path / "stages", full, "x")
    work = Work()
    run(tmp_path / "stages", work, "x")
    assert work.calls == 1


def test_a_stage_that_acts_outside_runs_every_time(tmp_path):
    work = Work()
    run(tmp_path / "stages", work, "x", keep=False)
    run(tmp_path / "stages", work, "x", keep=False)
    assert work.calls == 2


def test_what_python_compiles_on_the_way_does_not_change_the_code_s_content(tmp_path, monkeypatch):
    (tmp_path / "tasks" / "__pycache__").mkdir(parents=True)
    (tmp_path / "tasks" / "train.py").write_text("x = 1")
    (tmp_path / "requirements.lock").write_text("")
    monkeypatch.setattr(stages, "ROOT", tmp_path)
    monkeypatch.setattr(stages, "_LOCK", tmp_path / "requirements.lock")
    before = stages.code_content.__wrapped__()
    (tmp_path / "tasks" / "__pycache__" / "train.pyc").write_bytes(b"x")
    assert stages.code_content.__wrapped__() == before
    (tmp_path / "tasks" / "train.py").write_text("x = 2")
    assert stages.code_content.__wrapped__() != before
