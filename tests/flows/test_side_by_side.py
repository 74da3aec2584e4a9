"""Stages that do not need each other, in the processes of a real Dask or Ray cluster."""

import io
import os
import signal
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from prefect import flow

from flows.console import Console
from flows.stages import Part, Stage, Stages
from flows.task_runners import RunnerName, task_runner
from tasks.base.errors import InputError
from tasks.base.manifests import Package
from tasks.base.progress import Progress

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]


def make(tag: str, folder: Path, progress: Progress) -> Package:
    found = sorted(path.name for path in folder.glob("part-*"))
    progress(0.5, "half")
    (folder / "process").write_text(str(os.getpid()))
    return Package(tag=tag, path=folder, size_bytes=len(found), content="c")


def leave(tag: str, number: int, folder: Path) -> None:
    (folder / f"part-{number}").write_text(tag)


def refuse(tag: str) -> Package:
    raise InputError("row 7 is bad")


def die_once(tag: str, folder: Path, progress: Progress) -> Package:
    """Ends its process as one that the kernel kills for memory."""
    if not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return make(tag, folder, progress)


def refuse_a_part() -> None:
    raise InputError("part 3 is bad")


def stage(name: str, tag: str, work: Callable[..., Package] = make, parts: int = 0) -> Stage[Package]:
    pieces = tuple(Part(leave, {"number": number}) for number in range(parts))
    return Stage(name, work, {"tag": tag}, lambda made: made.tag, parts=pieces)


def together(folder: Path, *stages: Stage[Package], runner: RunnerName = "dask") -> tuple[list[Package], str]:
    said = io.StringIO()

    @flow
    def all_of_them() -> list[Package]:
        return Stages(folder, Console(said)).run_together(stages, task_runner(runner, 2))

    return all_of_them(), said.getvalue()


RAY = pytest.mark.skipif(find_spec("prefect_ray") is None, reason="Ray, an extra, is not installed")


@pytest.mark.parametrize("runner", ["dask", pytest.param("ray", marks=RAY)])
def test_stages_share_out_over_processes_after_their_parts_and_are_kept(tmp_path: Path, runner: RunnerName) -> None:
    stages = [stage("first", "1", parts=3), stage("second", "2")]
    made, said = together(tmp_path, *stages, runner=runner)
    assert [(one.tag, one.size_bytes) for one in made] == [("1", 3), ("2", 0)]
    assert os.getpid() not in {int((one.path / "process").read_text()) for one in made}
    assert {line.split()[0] for line in said.splitlines()} == {"first", "second"}
    again, said = together(tmp_path, *stages, runner=runner)
    assert again == made
    assert said.count("kept") == 2


def test_a_killed_process_costs_only_its_stage_which_is_done_again(tmp_path: Path) -> None:
    made, _ = together(tmp_path, stage("dies", "survived", die_once), stage("lives", "lived"))
    assert [one.tag for one in made] == ["survived", "lived"]


def test_the_error_of_a_stage_is_raised_as_it_is_and_the_others_are_kept(tmp_path: Path) -> None:
    good = stage("good", "made")
    with pytest.raises(InputError, match="row 7 is bad"):
        together(tmp_path, stage("bad", "bad", refuse), good)
    _, said = together(tmp_path, good)
    assert "kept" in said


def test_the_error_of_a_part_is_raised_as_it_is_and_the_other_stages_end(tmp_path: Path) -> None:
    bad = Stage("bad", make, {"tag": "bad"}, lambda made: made.tag, parts=(Part(refuse_a_part, {}),))
    good = stage("good", "good")
    with pytest.raises(InputError, match="part 3 is bad"):
        together(tmp_path, bad, good)
    assert [file.parent.name.split("-")[0] for file in tmp_path.glob("*/manifest.json")] == ["good"]


def test_a_damaged_stage_is_begun_anew_with_its_parts(tmp_path: Path) -> None:
    parted = stage("parted", "parted", parts=2)
    other = stage("other", "other")
    (made, _), _ = together(tmp_path, parted, other)
    (made.path / "process").write_text("damaged")
    (again, _), said = together(tmp_path, parted, other)
    assert again.size_bytes == 2
    assert said.count("kept") == 1
