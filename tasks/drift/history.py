"""The looks that were taken, oldest first: one JSON line each, bounded."""

import os
from pathlib import Path

from pydantic import ValidationError

from tasks.drift.report import DriftReport

LOOKS = "looks.jsonl"
MOST_LOOKS = 2_000
"""Twelve weeks of hourly looks."""


def remember(report: DriftReport, folder: Path) -> list[DriftReport]:
    """Adds the look to `folder`/looks.jsonl, without what only its own page shows; all looks, this one last."""
    kept = [*looks(folder), report.model_copy(update={"labels": {}, "distributions": {}})][-MOST_LOOKS:]
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{LOOKS}.{os.getpid()}"
    unfinished.write_text("".join(look.model_dump_json() + "\n" for look in kept), "utf-8")
    unfinished.replace(folder / LOOKS)
    return kept


def looks(folder: Path) -> list[DriftReport]:
    """The looks remembered in `folder`; those of another version of this program that cannot be read are left out."""
    found = []
    file = folder / LOOKS
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
        try:
            found.append(DriftReport.model_validate_json(line))
        except ValidationError:
            continue
    return found
