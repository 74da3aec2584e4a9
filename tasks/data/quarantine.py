"""The rows that are set aside: a file a person can open, and their number by reason."""

import re
from pathlib import Path

import duckdb

from tasks.base.workspace import literal
from tasks.data.formulas import disarmed_sql

_NUMBERS = re.compile(r"\d+")


def write_quarantine(duck: duckdb.DuckDBPyConnection, rows: str, path: Path) -> None:
    """Writes the query `rows` (source, line, reason, text) as CSV; of a text its first 200 characters.

    What a spreadsheet would run as a formula gets an apostrophe in front.
    """
    duck.execute(
        f"""COPY (SELECT {disarmed_sql("source")} AS source, line, {disarmed_sql("reason")} AS reason,
                {disarmed_sql("left(text, 200)")} AS excerpt
            FROM ({rows}) ORDER BY source, line) TO {literal(path)} (HEADER, DELIMITER ',')"""
    )


def by_kind(reasons: dict[str, int]) -> dict[str, int]:
    """Counts of reasons that differ only in a number, under the first one's wording, the most frequent first."""
    kinds: dict[str, str] = {}
    counts: dict[str, int] = {}
    for reason, count in reasons.items():
        name = kinds.setdefault(_NUMBERS.sub("#", reason), reason)
        counts[name] = counts.get(name, 0) + count
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
