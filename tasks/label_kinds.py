"""What differs between the kinds of task while data is read, checked and split, in DuckDB's SQL."""

from dataclasses import dataclass

import duckdb

from tasks.manifests import TaskName
from tasks.settings import SourceSettings
from tasks.sources import Reading

_SPANS = 'STRUCT("start" INTEGER, "end" INTEGER, "label" VARCHAR)[]'
_SPAN_CLASSES = "list_sort(list_distinct(list_transform(label, lambda span: span.label)))"
_KNOWN_SPANS = "list_filter(label, lambda span: list_contains(getvariable('labels'), span.label))"
_RAREST = "coalesce(list_min(list_transform({classes}, lambda name: (getvariable('ranks')[name], name)))[2], '')"


@dataclass(frozen=True)
class LabelKind:
    """Expressions over columns `label` (and, where a table was just read, `form`); see `Reading.schema`."""

    typed: str
    """The label in the type that `manifests.Table` states; `$separator` cuts a multi-label text."""
    misfit: str
    """Why a row's label is of another kind; NULL when it is not."""
    missing: str
    """Whether a typed label is missing."""
    classes: str
    """The class names of a typed label, as a list."""
    canonical: str
    """A text that is equal for equal typed labels."""
    stratum: str
    """The class by which a row is stratified; variable `ranks` maps a class to its place, the rarest first."""
    target: str
    """The target that training learns; type `class` enumerates the class names, variable `labels` lists them."""
    known: str
    """Whether a row can be used with the classes in `labels`."""
    kept: str
    """The label without classes that are not in `labels`."""
    least_classes: int = 2
    """Fewer leave nothing to learn."""
    comparable: bool = True
    """Whether scores of models with different tokenisers can be pooled, as folds need."""


KINDS: dict[TaskName, LabelKind] = {
    "single": LabelKind(
        typed="label",
        misfit="CASE WHEN form IS NOT NULL THEN 'the label is a list, where one name is expected' END",
        missing="label IS NULL OR trim(label, ' \t\r\n\u00a0\u3000') = ''",
        classes="[label]",
        canonical="label",
        stratum="label",
        target="CAST(enum_code(TRY_CAST(label AS class)) AS INTEGER)",
        known="TRY_CAST(label AS class) IS NOT NULL",
        kept="label",
    ),
    "multi": LabelKind(
        typed="""CASE WHEN form = 'list' THEN list_sort(list_distinct(CAST(CAST(label AS JSON) AS VARCHAR[])))
            WHEN label IS NOT NULL THEN list_sort(list_distinct(list_filter(
                list_transform(CASE WHEN $separator = '' THEN [label] ELSE string_split(label, $separator) END,
                    lambda name: trim(name)), lambda name: name <> ''))) END""",
        misfit="CASE WHEN form = 'spans' THEN 'the label is a list of spans, where names are expected' END",
        missing="label IS NULL",
        classes="label",
        canonical="CAST(to_json(label) AS VARCHAR)",
        stratum=_RAREST.format(classes="label"),
        target="list_transform(getvariable('labels'), lambda name: CAST(list_contains(label, name) AS TINYINT))",
        known="true",
        kept="list_filter(label, lambda name: list_contains(getvariable('labels'), name))",
    ),
    "tagging": LabelKind(
        typed=f"CAST(CAST(label AS JSON) AS {_SPANS})",
        misfit="CASE WHEN form IS NULL AND label IS NOT NULL OR form = 'list' AND label <> '[]' "
        "THEN 'the label is no list of spans {start, end, label}' END",
        missing="label IS NULL",
        classes=_SPAN_CLASSES,
        canonical="CAST(to_json(label) AS VARCHAR)",
        stratum=_RAREST.format(classes=_SPAN_CLASSES),
        target=_KNOWN_SPANS,
        known="true",
        kept=_KNOWN_SPANS,
        least_classes=1,
        comparable=False,
    ),
}

_SEPARATORS = ("|", ";", ",")


def find_task(duck: duckdb.DuckDBPyConnection, settings: SourceSettings, reading: Reading) -> tuple[TaskName, str]:
    """The kind of task of view `raw`, and what separates labels in it ('' where nothing does).

    Lists of spans mean tagging, lists of names multi-label. Separated text is multi-label only when the
    parts plainly recur in different company: a class name may hold a comma.
    """
    forms = dict(duck.execute("SELECT form, count(*) FROM raw WHERE label IS NOT NULL GROUP BY 1").fetchall())
    task = settings.task
    if task == "auto" and forms.get("spans", 0) > 0:
        task = "tagging"
    elif task == "auto" and forms.get("list", 0) > sum(forms.values()) / 2:
        task = "multi"
    if task in ("single", "tagging"):
        return task, ""
    separator = settings.label_separator
    if separator is None:
        separator = next((mark for mark in _SEPARATORS if _separates(duck, mark, task == "multi")), "")
    if separator and forms.get(None, 0):
        reading.note(f"{reading.label_column}: several labels a row, separated by {separator!r}; see --task single")
    return ("multi" if task == "multi" or separator else "single"), separator


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
