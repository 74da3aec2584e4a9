"""One stage of a flow: a persisted, content-keyed Prefect task around a plain function."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from flows.console import Console
from tasks.manifests import Record, content_of
from tasks.state import ROOT

Result = TypeVar("Result", bound=Record)
Report = Callable[[float, str], None]

MANIFEST = "manifest.json"
ARTIFACT_SECONDS = 5.0
_LOCK = ROOT / "requirements.lock"


@cache
def code_content() -> str:
    """SHA-256 of the product's own code and the lock file: a stage's result depends on both."""
    files = [file for name in ("tasks", "bentos") for file in sorted((ROOT / name).rglob("*")) if _is_source(file)]
    return content_of(*((file.relative_to(ROOT).as_posix(), content_of(file)) for file in files), _LOCK)


def _is_source(file: Path) -> bool:
    # What Python compiles on the way changes from run to run.
    return file.is_file() and "__pycache__" not in file.parts


@dataclass
class Stages:
    """Runs stages one after the other, each in its own folder below `folder`.

    A stage's key is the content of what it depends on and of the code. A finished stage leaves its
    manifest in its folder; a later run with the same key takes that instead of working again, and a
    killed one finds its own folder, with the checkpoints in it, as it was left.
    """

    folder: Path
    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    def run(
        self,
        name: str,
        work: Callable[[Path, Report], Result],
        depends_on: tuple[object, ...],
        summary: Callable[[Result], str],
        *,
        keep: bool = True,
    ) -> Result:
        """The result of `work(folder, progress)`.

        Args:
            depends_on: values, manifests and paths (by their bytes) that decide the result.
            keep: False for a stage that acts on the outside and must run every time.
        """
        key = content_of(name, code_content(), *depends_on)
        folder = self.folder / f"{name.replace(' ', '-')}-{key[:16]}"
        started = time.monotonic()
        kept = keep and (folder / MANIFEST).exists()
        outcome = _stage.with_options(
            name=name,
            task_run_name=name,
            cache_key_fn=(lambda context, parameters: key) if keep else None,
            persist_result=keep,
            refresh_cache=keep and not kept,
        )(name, folder, work, self.console)
        took = time.monotonic() - started
        self.seconds[name] = round(took, 3)
        if kept:
            # Retention goes by when a stage's result was last used.
            (folder / MANIFEST).touch()
        self.console.finish_progress()
        result = cast(Result, outcome)
        self.console.stage(name, took, summary(result), kept=kept)
        return result


@task(result_serializer="json", cache_expiration=timedelta(days=30))
def _stage(name: str, folder: Path, work: Callable[[Path, Report], Record], console: Console) -> Record:
    # A manifest marks the folder as finished: without it, what lies there is a killed run's beginning.
    (folder / MANIFEST).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    result = work(folder, _Progress(name, console))
    unfinished = folder / f"{MANIFEST}.new"
    unfinished.write_text(result.model_dump_json(indent=2))
    unfinished.replace(folder / MANIFEST)
    return result


class _Progress:
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
