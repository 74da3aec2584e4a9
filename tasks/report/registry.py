"""Versions, runs, lineage and drift of a local system as one page, gathered from what each run left behind."""

import json
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from tasks.base.files import write_whole
from tasks.base.manifests import Record
from tasks.base.pages.svg import Frame, drawing, number_ticks, padded, percent_ticks
from tasks.base.pages.templates import templates
from tasks.base.remembered import remember, remembered
from tasks.deployment.served_model import bentos_of
from tasks.deployment.supervisor.record import history, read_live
from tasks.watching.drift.charts import accuracy_chart
from tasks.watching.drift.history import looks

PAGE = "registry.html"
RUNS = "runs.jsonl"
MOST_RUNS = 1_000
"""Nearly three years of nightly ones."""
_MOST_EVENTS = 50


@dataclass(frozen=True)
class Versions:
    """Tags. `candidate` is a package newer than the live version that was not taken live, or not yet."""

    live: str | None
    previous: str | None
    candidate: str | None


class Run(Record):
    """One retrain by its report; what a run did not reach is None, and so is the page of a report that is gone."""

    name: str
    started: datetime
    source: str | None
    chosen: str | None
    accuracy: dict[str, float] | None
    verdict: str | None
    tag: str | None
    hashes: dict[str, str]
    page: Path | None = None


def versions(state: Path) -> Versions:
    """The live version, the one a rollback returns to, and the candidate."""
    live = read_live(state)
    newest = max(bentos_of(state), default=None)
    if live is None:
        return Versions(None, None, newest)
    known = live.version.tag
    return Versions(known, live.previous and live.previous.tag, newest if newest and newest > known else None)


def runs(state: Path) -> list[Run]:
    """The last retrains, oldest first: those whose reports are kept, and what the page showed of others."""
    return _with_reports(state, remembered(state / RUNS, Run))


def _with_reports(state: Path, before: list[Run]) -> list[Run]:
    kept = [_run(file) for file in (state / "runs").glob("*/report.json")]
    found = {run.name: run for run in (*before, *kept)}
    return [found[name] for name in sorted(found)][-MOST_RUNS:]


def _run(file: Path) -> Run:
    content: dict[str, Any] = json.loads(file.read_text("utf-8"))
    part = {name: content.get(name) or {} for name in ("data", "chosen", "test", "gate", "bento")}
    return Run(
        name=file.parent.name,
        started=datetime.strptime(file.parent.name[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC),
        source=part["data"].get("source"),
        chosen=part["chosen"].get("name"),
        accuracy=part["test"].get("accuracy"),
        verdict=part["gate"].get("verdict"),
        tag=part["bento"].get("tag"),
        hashes=content.get("hashes") or {},
        page=file.with_name("report.html"),
    )


def disk(state: Path) -> dict[str, int]:
    """Bytes by what they are kept for, the largest first."""
    places = {path.name: path for path in state.iterdir() if path.is_dir()} if state.is_dir() else {}
    sizes = {
        "bentos": sum(map(_size, bentos_of(state).values())),
        **{name: _size(path) for name, path in places.items()},
    }
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*") if folder.is_dir() else ():
        try:
            status = file.lstat()
        except FileNotFoundError:
            # What a running system has just removed.
            continue
        total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def write_registry(state: Path) -> Path:
    """Writes `state`/registry.html, which loads nothing from elsewhere, and returns its path.

    What it shows of each run is kept in `state`/runs.jsonl: accuracy over time must outlast the reports.
    """
    seen, taken = runs(state), looks(state / "drift")
    template = templates().get_template(PAGE)
    page = template.render(
        now=datetime.now(UTC),
        versions=versions(state),
        runs=seen[::-1],
        events=list(history(state))[: -_MOST_EVENTS - 1 : -1],
        accuracy=judged_chart(seen),
        drift=[look for look in taken if look.state == "drift"][::-1],
        looks=len(taken),
        live_accuracy=accuracy_chart(taken),
        disk=disk(state),
    )
    remember(
        state / RUNS,
        Run,
        lambda before: [run.model_copy(update={"page": None}) for run in _with_reports(state, before)],
    )
    write_whole(state / PAGE, page)
    return state / PAGE


def judged_chart(seen: Sequence[Run]) -> Markup:
    """Accuracy on each run's test set with its 95 % interval, run by run."""
    judged = [run for run in seen if run.accuracy]
    if not judged:
        return Markup()
    figures = [run.accuracy or {} for run in judged]
    span = padded(min(one["low"] for one in figures), max(one["high"] for one in figures), least=0.0, most=1.0)
    frame = Frame((0.5, len(judged) + 0.5), span, width=640, height=230)
    ticks = {value: written for value, written in number_ticks(frame.x).items() if value == int(value)}
    parts = [frame.axes("run", "test accuracy", ticks, percent_ticks(span))]
    for number, (run, one) in enumerate(zip(judged, figures, strict=True), 1):
        x = frame.px(number)
        title = (
            f"{run.started:%Y-%m-%d %H:%M}: {one['value']:.1%} ({one['low']:.1%} to {one['high']:.1%}), {run.verdict}"
        )
        style = "chosen" if run.verdict == "passed" else "point"
        parts.append(f'<g class="{style}"><title>{escape(title)}</title>')
        parts.append(f'<line x1="{x}" x2="{x}" y1="{frame.py(one["high"])}" y2="{frame.py(one["low"])}"/>')
        parts.append(f'<circle cx="{x}" cy="{frame.py(one["value"])}" r="4.5"/></g>')
    words = f"{len(judged)} runs, the last at {figures[-1]['value']:.1%}."
    return drawing(frame.width, frame.height, "Test accuracy by run", words, parts)
