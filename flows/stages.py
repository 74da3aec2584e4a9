"""The stages of a flow: each a persisted Prefect task around a plain function, keyed by what it is called with."""

import errno
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, cached_property, partial
from inspect import signature
from pathlib import Path
from types import FunctionType
from typing import Any, Generic, TypeVar, cast

from prefect import Task, task
from prefect.exceptions import UnfinishedRun
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import TaskRunner

from flows.console import Console, current, shown_on
from flows.display import Display
from tasks.base.errors import PipelineError
from tasks.base.manifests import Record, content_of
from tasks.base.state import ROOT

Result = TypeVar("Result", bound=Record)
Written = TypeVar("Written", bound=Record)
Given = TypeVar("Given")

PROVIDED = frozenset({"folder", "progress"})
"""Parameters of a stage function that are no inputs."""

MANIFEST = "manifest.json"
SEAL = "files.json"
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
class Part:
    """A piece of a stage's work: a plain function of those of the stage's inputs that it names, and of its own."""

    work: Callable[..., None]
    own: Mapping[str, object]


@dataclass(frozen=True)
class Stage(Generic[Result]):
    """A function and the inputs that it is called with, which decide its result: the function can see nothing else.

    Attributes:
        work: a plain function of a module. Parameters called `folder` and `progress` get the stage's folder and where
            to report; all others are inputs.
        summary: the result in a line.
        keep: False for a stage that reads or changes what is outside: it runs every time and has no key, and its
            inputs may be anything.
        parts: pieces of the work that may be done before it, elsewhere and in any order; each leaves in the
            folder what `work` then finds there. Where stages run one by one, `work` does all of it.

    Raises:
        TypeError: a function has other inputs, or could see more than them.
    """

    name: str
    work: Callable[..., Result]
    inputs: Mapping[str, object]
    summary: Callable[[Result], str]
    keep: bool = True
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        for one in (self, *self.parts):
            _check_plain(one.work)
        for call in self.calls:
            _check_inputs(call)

    @cached_property
    def key(self) -> str:
        return key_of(self.name, self.work, self.inputs)

    @property
    def calls(self) -> list[partial[Any]]:
        """What is called, the parts first, each in a form that another process can be sent."""
        shared = [
            {name: value for name, value in self.inputs.items() if name in signature(part.work).parameters}
            for part in self.parts
        ]
        parts = [partial(part.work, **given, **part.own) for part, given in zip(self.parts, shared, strict=True)]
        return [*parts, partial(self.work, **self.inputs)]


def key_of(name: str, work: Callable[..., Any], inputs: Mapping[str, object]) -> str:
    """The content of a stage's name, its function's, the code, and every input by its name, defaults included."""
    named = signature(work).parameters.values()
    defaults = {one.name: one.default for one in named if one.default is not one.empty and one.name not in PROVIDED}
    return content_of(name, f"{work.__module__}.{work.__qualname__}", code_content(), defaults | dict(inputs))


def _check_plain(work: Callable[..., Any]) -> None:
    plain = isinstance(work, FunctionType) and getattr(sys.modules[work.__module__], work.__qualname__, None) is work
    if not plain:
        raise TypeError(
            f"{work} is no plain function of a module: what it sees beside its inputs would not be in the key"
        )


def _check_inputs(call: partial[Any]) -> None:
    work = call.func
    if taken := call.keywords.keys() & PROVIDED:
        raise TypeError(f"{work.__name__}: {sorted(taken)[0]} is no input, every stage gets its own")
    signature(work).bind(**call.keywords, **dict.fromkeys(PROVIDED & signature(work).parameters.keys()))


@dataclass
class Stages:
    """Runs stages, each in its own folder below `folder`.

    A stage's key is the content of its inputs, its name and the code. A finished stage leaves its
    manifest in its folder, and the hashes of its files; a later run with the same key takes that instead
    of working again while the files are as they were, and a killed one finds its own folder, with the
    checkpoints in it, as it was left.
    """

    folder: Path
    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    def run(
        self, name: str, work: Callable[..., Result], summary: Callable[[Result], str], /, **inputs: object
    ) -> Result:
        """The result of one stage, kept from an earlier run with the same inputs where there was one; see `Stage`."""
        return self._run(Stage(name, work, inputs, summary))

    def act(
        self, name: str, work: Callable[..., Result], summary: Callable[[Result], str], /, **inputs: object
    ) -> Result:
        """The result of a stage that reads or changes what is outside, and so runs every time."""
        return self._run(Stage(name, work, inputs, summary, keep=False))

    def _run(self, stage: Stage[Result]) -> Result:
        started = time.monotonic()
        kept = self._is_kept(stage)
        if not stage.keep:
            shutil.rmtree(self._folder(stage), ignore_errors=True)
        with shown_on(self.console):
            result = self._task(stage)(stage.name, self._folder(stage), stage.calls[-1])
        return self._finished(stage, cast(Result, result), started, kept=kept)

    def run_together(self, stages: Sequence[Stage[Result]], runner: TaskRunner[Any] | None) -> list[Result]:
        """The results of stages that do not need each other, side by side in the processes of `runner`.

        Without a runner they are done one after the other, each without its parts. With one their `seconds` count
        from the common start, and a stage that fails raises its error when the others have ended.
        """
        if runner is None:
            return [self._run(stage) for stage in stages]
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
        *pieces, work = stage.calls
        parts = [
            running.submit(
                _run_part.with_options(task_run_name=f"{stage.name}, part {number}"), whole | {"work": piece}
            )
            for number, piece in enumerate(pieces if runs else (), start=1)
        ]
        return [*parts, running.submit(self._task(stage), whole | {"work": work}, wait_for=parts)]

    def _folder(self, stage: Stage[Any]) -> Path:
        name = stage.name.replace(" ", "-")
        return self.folder / (f"{name}-{stage.key[:16]}" if stage.keep else name)

    def _is_kept(self, stage: Stage[Any]) -> bool:
        return stage.keep and _is_whole(self._folder(stage))

    def _task(self, stage: Stage[Any]) -> Task[..., Record]:
        return _run_stage.with_options(
            name=stage.name,
            task_run_name=stage.name,
            cache_key_fn=(lambda context, parameters, key=stage.key: key) if stage.keep else None,
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


def _stage(name: str, folder: Path, work: partial[Record]) -> Record:
    # A manifest marks the folder as finished: without it, what lies there is a killed run's beginning.
    if (folder / MANIFEST).exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        # As a later run will read it: a stage that comes after sees the same, and has the same key, either way.
        result = _as_read(_called(work, name, folder))
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
    """Whether a stage has ended in the folder, and left files that are still what it wrote.

    What its manifest names in other stages' folders must be there as well: those may have been removed since.
    """
    try:
        files = json.loads((folder / SEAL).read_text())
        named = _strings(json.loads((folder / MANIFEST).read_text()))
        there = all(Path(text).exists() for text in named if text.startswith(f"{folder.parent}/"))
        return there and all(content_of(folder / name) == seal for name, seal in files.items())
    except (FileNotFoundError, ValueError):
        return False


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


def _as_read(result: Written) -> Written:
    return type(result).model_validate(json.loads(json.dumps(result.model_dump(mode="json"))))


def _part(name: str, folder: Path, work: partial[None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    _called(work, name, folder)


def _called(work: partial[Given], name: str, folder: Path) -> Given:
    provided = {"folder": folder, "progress": Display(name, current())}
    return work(**{name: value for name, value in provided.items() if name in signature(work.func).parameters})


# Not as decorators: Dask sends a function by its name, under which it must be found itself.
_run_stage = task(result_serializer="json", cache_expiration=timedelta(days=30))(_stage)
_run_part = task(_part)
