"""The kind of task that a label column asks for, found from the labels themselves."""

import duckdb

from tasks.base.settings import SourceSettings
from tasks.data.label_forms import check_forms
from tasks.data.sources import Reading
from tasks.kinds.registry import AUTO, found_by, kind_of

_SEPARATORS = ("|", ";", ",")


def find_task(duck: duckdb.DuckDBPyConnection, settings: SourceSettings, reading: Reading) -> tuple[str, str]:
    """The kind of task of view `raw`, and what separates labels in it ('' where nothing does).

    Any spans mean the kind that is found by them, mostly lists the one that is found by lists, where one of them holds
    more than one name. Separated text means lists only when the parts plainly recur in different company: a class name
    may hold a comma.

    Raises:
        InputError: `settings` names no kind that there is, or the labels can be none; see `check_forms`.
    """
    forms = check_forms(duck, settings, reading)
    task = settings.task
    if task == AUTO and forms.spans:
        task = found_by("spans")
    elif task == AUTO and forms.lists > forms.names:
        task = found_by("list" if forms.longest_list > 1 else "names")
    if task != AUTO and not kind_of(task).labels.separable:
        return task, ""
    separator = settings.label_separator
    if separator is None:
        separator = next((mark for mark in _SEPARATORS if _separates(duck, mark, task != AUTO)), "")
    if separator and forms.names:
        reading.note(
            f"{reading.label_column}: several labels a row, separated by {separator!r}; see --task {found_by('names')}"
        )
    if task == AUTO:
        task = found_by("list") if separator else found_by("names")
    return task, separator


def _separates(duck: duckdb.DuckDBPyConnection, mark: str, wanted: bool) -> bool:
    """Whether `mark` parts labels from each other: at least one label in twenty holds it (any, when several labels
    are `wanted`), the number of parts varies, and 90 % of the parts in company stand in two or more combinations."""
    found = duck.execute(
        """
        WITH wholes AS (SELECT label AS whole, count(*) AS n FROM raw WHERE form IS NULL AND label IS NOT NULL
            AND reason IS NULL GROUP BY 1),
        parts AS (SELECT whole, n, contains(whole, $mark) AS company, len(string_split(whole, $mark)) AS size,
            trim(unnest(string_split(whole, $mark))) AS part FROM wholes),
        known AS (SELECT part, count(DISTINCT whole) AS combinations, sum(n) FILTER (company) AS n
            FROM parts WHERE part <> '' GROUP BY 1)
        SELECT (SELECT coalesce(sum(n) FILTER (contains(whole, $mark)), 0) / sum(n) FROM wholes),
            (SELECT count(DISTINCT size) FROM parts),
            (SELECT coalesce(sum(n) FILTER (combinations > 1), 0) / sum(n) FROM known)
        """,
        {"mark": mark},
    ).fetchone()
    held, sizes, recurring = (float(value or 0) for value in found or (0, 0, 0))
    return held > 0 if wanted else held >= 0.05 and sizes > 1 and recurring >= 0.9
