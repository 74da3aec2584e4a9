"""Stages: what decides whether a result is kept, and what a stage function may be."""

import errno
import io
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from prefect import flow

from flows import stages
from flows.console import Console
from flows.stages import MANIFEST, Part, Stage, Stages
from tasks.base.errors import PipelineError
from tasks.base.manifests import Package
from tasks.base.progress import Progress

pytestmark = pytest.mark.usefixtures("prefect_server")
CALLS = "calls"


def make(source: object, record: str, folder: Path, progress: Progress) -> Package:
    """A stage function; `record` is a file that counts how often it was called."""
    with Path(record).open("a") as stream:
        stream.write(".")
    (folder / "file").write_text("made")
    progress(0.5, "half")
    return Package(tag="made", path=folder, size_bytes=1, content="c")


def die(source: object, record: str, folder: Path) -> Package:
    (folder / "checkpoint").write_text("half")
    raise RuntimeError("killed")


def lead(folder: Path, hint: int = 0) -> Package:
    (folder / "file").write_text("made")
    return Package(tag="made", path=folder / "file", size_bytes=1, content="c")


def follow(package: Package, folder: Path) -> Package:
    return package


def raise_full(source: object, record: str) -> Package:
    raise OSError(errno.ENOSPC, "No space left on device", "file")


def raise_full_tree(source: object, record: str) -> Package:
    raise shutil.Error([("from", "to", "[Errno 28] No space left on device: 'to'")])


def leave(number: int, folder: Path) -> None:
    (folder / str(number)).touch()


class Place:
    """A folder of stages, and one stage in it, run over a source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.record = folder.with_name(CALLS)
        self.said = ""

    def run(self, source: object = "x", work=make, keep: bool = True) -> Package:
        said = io.StringIO()

        @flow
        def one() -> Package:
            made = Stages(self.folder, Console(said))
            do = made.run if keep else made.act
            return do("stage", work, lambda made: made.tag, source=source, record=str(self.record))

        try:
            return one()
        finally:
            self.said = said.getvalue()

    @property
    def calls(self) -> int:
        return len(self.record.read_text())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "stages")


def test_a_finished_stage_is_kept_by_content(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source.csv"
    source.write_text("one")
    first = place.run(source)
    assert (place.run(source), place.calls) == (first, 1)
    assert "kept" in place.said


def test_changed_bytes_in_the_same_path_are_noticed(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source.csv"
    source.write_text("one")
    place.run(source)
    source.write_text("two")
    place.run(source)
    assert place.calls == 2


def test_a_stage_that_died_starts_from_its_own_folder(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "_called", lambda work, name, folder: die("x", "", folder))
    with pytest.raises(RuntimeError, match="killed"):
        place.run()
    monkeypatch.undo()
    made = place.run()
    assert (made.path / "checkpoint").read_text() == "half"


def test_removed_files_of_a_kept_stage_are_made_again(place: Place) -> None:
    first = place.run()
    (first.path / MANIFEST).unlink()
    place.run()
    assert place.calls == 2
    assert json.loads((first.path / MANIFEST).read_text())["tag"] == "made"


@pytest.mark.parametrize("harmed", ["", "mad", "MADE", None], ids=["empty", "cut short", "other bytes", "gone"])
def test_a_kept_stage_whose_files_were_harmed_is_made_again_from_nothing(place: Place, harmed: str | None) -> None:
    first = place.run()
    (first.path / "left").write_text("of the harmed one")
    if harmed is None:
        (first.path / "file").unlink()
    else:
        (first.path / "file").write_text(harmed)
    place.run()
    assert place.calls == 2
    assert "kept" not in place.said
    assert (first.path / "file").read_text() == "made"
    assert not (first.path / "left").exists()


def test_a_kept_result_that_names_what_another_stage_no_longer_has_is_made_again(tmp_path: Path) -> None:
    said = io.StringIO()

    @flow
    def two(hint: int) -> Package:
        made = Stages(tmp_path / "stages", Console(said))
        led = made.run("lead", lead, lambda made: made.tag, hint=hint)
        return made.run("follow", follow, lambda made: made.tag, package=led)

    first = two(1)
    assert two(2) == first
    assert said.getvalue().count("kept") == 1
    shutil.rmtree(first.path.parent)
    again = two(2)
    assert again.path.exists()
    assert again.path != first.path


@pytest.mark.parametrize("full", [raise_full, raise_full_tree], ids=["file", "tree"])
def test_a_full_disk_is_told_in_one_message_and_the_next_run_begins_the_stage_again(place: Place, full) -> None:
    with pytest.raises(PipelineError, match=r"the disk is full: stage cannot write into .*Free space there"):
        place.run(work=full)
    place.run()
    assert place.calls == 1


def test_a_stage_that_acts_outside_runs_every_time_in_an_empty_folder(place: Place) -> None:
    first = place.run(keep=False)
    (first.path / "left").touch()
    second = place.run(object(), keep=False)
    assert (place.calls, second.path) == (2, first.path)
    assert not (first.path / "left").exists()


def method() -> Callable[..., Package]:
    class Owner:
        def work(self, folder: Path) -> Package:
            raise NotImplementedError

    return Owner().work


def closure() -> Callable[..., Package]:
    setting = "x"

    def work(folder: Path) -> Package:
        return Package(tag=setting, path=folder, size_bytes=1, content="c")

    return work


@pytest.mark.parametrize(
    "work",
    [closure(), method(), partial(make, "x"), lambda folder: lead(folder), Place],
    ids=["closure", "method", "partial", "lambda", "class"],
)
def test_a_function_that_could_see_more_than_its_inputs_is_refused(work) -> None:
    with pytest.raises(TypeError, match="is no plain function of a module"):
        Stage("stage", work, {}, str)
    with pytest.raises(TypeError, match="is no plain function of a module"):
        Stage("stage", lead, {}, str, parts=(Part(work, {}),))


@pytest.mark.parametrize("inputs", [{}, {"source": 1}, {"source": 1, "record": "", "other": 1}])
def test_inputs_are_those_of_the_function(inputs: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="argument"):
        Stage("stage", make, inputs, str)


def test_the_folder_of_a_stage_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="folder is no input"):
        Stage("stage", lead, {"folder": tmp_path}, str)


def test_what_has_no_value_is_no_input_of_a_stage_that_is_kept() -> None:
    with pytest.raises(TypeError, match="a object has no content"):
        _ = Stage("stage", make, {"source": object(), "record": ""}, str).key


def test_name_function_and_inputs_are_the_key() -> None:
    keys = {
        Stage("stage", make, {"source": 1, "record": "a"}, str).key,
        Stage("other", make, {"source": 1, "record": "a"}, str).key,
        Stage("stage", raise_full, {"source": 1, "record": "a"}, str).key,
        Stage("stage", make, {"source": "a", "record": "1"}, str).key,
        Stage("stage", make, {"source": None, "record": "a"}, str).key,
    }
    assert len(keys) == 5
    again = Stage("stage", make, {"record": "a", "source": 1}, repr, parts=(Part(leave, {"number": 1}),))
    assert again.key in keys


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
