"""The looks that were taken, oldest first: one JSON line each, bounded."""

from pathlib import Path

from tasks.base import remembered
from tasks.watching.drift.report import DriftReport

LOOKS = "looks.jsonl"
MOST_LOOKS = 2_000
"""Twelve weeks of hourly looks."""


def remember(report: DriftReport, folder: Path) -> list[DriftReport]:
    """Adds the look to `folder`/looks.jsonl, without what only its own page shows; all looks, this one last."""
    look = report.model_copy(update={"labels": {}, "distributions": {}})
    return remembered.remember(folder / LOOKS, DriftReport, lambda before: [*before, look][-MOST_LOOKS:])


def looks(folder: Path) -> list[DriftReport]:
    """The looks remembered in `folder`; those of another version of this program that cannot be read are left out."""
    return remembered.remembered(folder / LOOKS, DriftReport)
