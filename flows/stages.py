"""The stages of a flow: each a persisted, content-keyed Prefect task around a plain function."""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from prefect import Task, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.exceptions import UnfinishedRun
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import TaskRunner

from flows.console import Console, current, shown_on
from tasks.base.errors import PipelineError
from tasks.base.manifests import Record, content_of
from tasks.base.progress import Progress
from tasks.base.state import ROOT

Result = TypeVar("Result", bound=Record)

MANIFEST = "manifest.json"
SEAL = "files.json"
ARTIFACT_SECONDS = 5.0
_LOCK = ROOT / "requirements.lock"
# Told by their text: when a tree is copied the errors come joined, without their numbers.
_FULL = (errno.ENOSPC, errno.EDQUOT)


@cache
def code_content() -> str:
    """SHA-256 of the product's own code and the lock file: a stage's result depends on both."""
    files = [file for name in ("tasks", "bentos") for file in sorted((ROOT / name).rglob("*")) if _is_source(file)]
    return content_of(*((file.relative_to(ROOT).as_posix(), content_of(file)) for file in files), _LOCK)


def _is_source(file: Path) -> bool:
    # What Python compiles on the way changes from run to run.
    return file.is_file() and "__pycache__" not in file.parts


@dataclass(frozen=True)
class Stage(Generic[Result]):
    """What a stage does and what decides its result.

    Attributes:
        work: called with the stage's folder and where to report progress.
        depends_on: values, manifests and paths (by their bytes) that decide the result.
        summary: the result in a line.
        keep: False for a stage that acts on the outside and must run every time.
        parts: pieces of the work that may be done before it, elsewhere and in any order; each leaves in the
            folder what `work` then finds there. Where stages run one by one, `work` does all of it.
    """

    name: str
    work: Callable[[Path, Progress], Result]
    depends_on: tuple[object, ...]
    summary: Callable[[Result], str]
    keep: bool = True
    parts: tuple[Callable[[Path, Progress], None], ...] = ()

    @cached_property
    def key(self) -> str:
        return content_of(self.name, code_content(), *self.depends_on)


@dataclass
class Stages:
    """Runs stages, each in its own folder below `folder`.

    A stage's key is the content of what it depends on and of the code. A finished stage leaves its
    manifest in its folder, and the hashes of its files; a later run with the same key takes that instead
    of working again while the files are as they were, and a killed one finds its own folder, with the
    checkpoints in it, as it was left.
    """

    folder: Path
    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    def run(
        self,
        name: str,
        work: Callable[[Path, Progress], Result],
        depends_on: tuple[object, ...],
        summary: Callable[[Result], str],
        *,
        keep: bool = True,
    ) -> Result:
        """The result of one stage; see `Stage` for the arguments."""
        stage = Stage(name, work, depends_on, summary, keep)
        started = time.monotonic()
        kept = self._is_kept(stage)
        with shown_on(self.console):
            result = self._task(stage)(name, self._folder(stage), work)
        return self._finished(stage, cast(Result, result), started, kept=kept)

    def run_together(self, stages: Sequence[Stage[Result]], runner: TaskRunner[Any]) -> list[Result]:
        """The results of stages that do not need each other, side by side in the processes of `runner`.

        Their `seconds` count from the common start. A stage that fails raises its error when the others have ended.
        """
        started = time.monotonic()
        kept = {stage.name: self._is_kept(stage) for stage in stages}
        with runner:
            submitted = [self._submit(runner, stage, runs=not kept[stage.name]) for stage in stages]
            stage_of = {futures[-1]: stage for futures, stage in zip(submitted, stages, strict=True)}
            for future in as_completed(list(stage_of)):
                try:
                    result = future.result(raise_on_failure=False)
                except UnfinishedRun:
                    # A part of it has failed, whose error comes below.
                    continue
                if isinstance(result, Record):
                    stage = stage_of[future]
                    self._finished(stage, cast(Result, result), started, kept=kept[stage.name])
            return [cast(Result, [future.result() for future in futures][-1]) for futures in submitted]

    def _submit(self, running: TaskRunner[Any], stage: Stage[Result], *, runs: bool) -> list[PrefectFuture[Any]]:
        """The stage's parts, and last the stage itself."""
        if runs and (self._folder(stage) / MANIFEST).exists():
            # What lies there is damaged, and no part may go on with it.
            shutil.rmtree(self._folder(stage))
        whole = {"name": stage.name, "folder": self._folder(stage)}
        parts = [
            running.submit(_run_part.with_options(task_run_name=f"{stage.name}, part {number}"), whole | {"work": part})
            for number, part in enumerate(stage.parts if runs else (), start=1)
        ]
        return [*parts, running.submit(self._task(stage), whole | {"work": stage.work}, wait_for=parts)]

    def _folder(self, stage: Stage[Any]) -> Path:
        return self.folder / f"{stage.name.replace(' ', '-')}-{stage.key[:16]}"

    def _is_kept(self, stage: Stage[Any]) -> bool:
        return stage.keep and _is_whole(self._folder(stage))

    def _task(self, stage: Stage[Any]) -> Task[..., Record]:
        key = stage.key
        return _run_stage.with_options(
            name=stage.name,
            task_run_name=stage.name,
            cache_key_fn=(lambda context, parameters: key) if stage.keep else None,
            persist_result=stage.keep,
            refresh_cache=stage.keep and not self._is_kept(stage),
        )

    def _finished(self, stage: Stage[Result], result: Result, started: float, *, kept: bool) -> Result:
        took = time.monotonic() - started
        self.seconds[stage.name] = round(took, 3)
        if kept:
            # Retention goes by when a stage's result was last used.
            (self._folder(stage) / MANIFEST).touch()
        self.console.finish_progress()
        self.console.stage(stage.name, took, stage.summary(result), kept=kept)
        return result


def _stage(name: str, folder: Path, work: Callable[[Path, Progress], Record]) -> Record:
    # A manifest marks the folder as finished: without it, what lies there is a killed run's beginning.
    if (folder / MANIFEST).exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        result = work(folder, _Display(name, current()))
    except OSError as error:
        full = next((reason for reason in map(os.strerror, _FULL) if reason in str(error)), None)
        if full is None:
            raise
        raise PipelineError(
            f"the disk is full: {name} cannot write into {folder} ({full}). "
            "Free space there; the next run goes on from the last finished stage."
        ) from error
    files = [file for file in folder.rglob("*") if file.is_file() and file != folder / SEAL]
    (folder / SEAL).write_text(json.dumps({str(file.relative_to(folder)): content_of(file) for file in files}))
    unfinished = folder / f"{MANIFEST}.new"
    unfinished.write_text(result.model_dump_json(indent=2))
    unfinished.replace(folder / MANIFEST)
    return result


def _is_whole(folder: Path) -> bool:
    """Whether a stage has ended in the folder, and left files that are still what it wrote."""
    try:
        files = json.loads((folder / SEAL).read_text())
        return (folder / MANIFEST).exists() and all(content_of(folder / name) == seal for name, seal in files.items())
    except (FileNotFoundError, ValueError):
        return False


def _part(name: str, folder: Path, work: Callable[[Path, Progress], None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    work(folder, _Display(name, current()))


# Not as decorators: Dask sends a function by its name, under which it must be found itself.
_run_stage = task(result_serializer="json", cache_expiration=timedelta(days=30))(_stage)
_run_part = task(_part)


class _Display:
    """Sends a stage's progress to the terminal and, every few seconds, to a Prefect progress artifact."""

    def __init__(self, name: str, console: Console) -> None:
        self.name = name
        self.console = console
        self.artifact: Any = None
        self.sent = time.monotonic()

    def __call__(self, share: float, text: str) -> None:
        self.console.progress(self.name, min(max(share, 0.0), 1.0), text)
        now = time.monotonic()
        if now - self.sent < ARTIFACT_SECONDS:
            return
        self.sent = now
        percent = round(100 * share, 1)
        if self.artifact is None:
            self.artifact = create_progress_artifact(progress=percent, key=_artifact_key(self.name), description=text)
        else:
            update_progress_artifact(artifact_id=self.artifact, progress=percent, description=text)


def _artifact_key(name: str) -> str:
    return "progress-" + "".join(char if char.isalnum() else "-" for char in name.lower())
