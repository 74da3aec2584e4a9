"""Which process carries a flow run, and how the run's work ended: a file a run, for when the server misses its end."""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from flows.environment import prefect_home
from flows.identity import identity, living
from tasks.base.files import write_whole

COMPLETED, FAILED = "COMPLETED", "FAILED"
_LONGEST_REASON = 500


class Carried(NamedTuple):
    """The record of a run."""

    run: UUID
    file: Path
    alive: bool
    """Whether the process lives."""
    end: str | None
    """COMPLETED or FAILED once the run's work is over."""
    ended: datetime | None
    why: str


def carried() -> list[Carried]:
    """What is recorded of runs whose final state the server was not yet seen to know."""
    return [_read(file) for file in sorted(_folder().glob("*.json"))]


def _read(file: Path) -> Carried:
    try:
        known = json.loads(file.read_text())
        ended = datetime.fromtimestamp(known["ended"], UTC) if "ended" in known else None
        return Carried(UUID(file.stem), file, living(known) is not None, known.get("end"), ended, known.get("why", ""))
    except (OSError, ValueError, KeyError):
        # Damaged, as by a full disk: nobody can say that the process lives.
        return Carried(UUID(file.stem), file, False, None, None, "")


def _folder() -> Path:
    return prefect_home() / "running"


def note_begun(run: UUID) -> None:
    """Records this process as the one of the run."""
    _write(run, {})


def note_ended(run: UUID, error: BaseException | None) -> None:
    """Records that the run's work is over in this process, and the error that ended it."""
    why = "" if error is None else f"{type(error).__name__}: {error}"[:_LONGEST_REASON]
    _write(run, {"end": COMPLETED if error is None else FAILED, "ended": time.time(), "why": why})


def _write(run: UUID, facts: dict[str, Any]) -> None:
    write_whole(_folder() / f"{run}.json", json.dumps({**identity(os.getpid()), **facts}))
