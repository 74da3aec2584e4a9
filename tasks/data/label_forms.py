"""What a column of labels really holds: names, lists, or lists that were written as text, which are no names."""

import ast
import json
from dataclasses import dataclass

import duckdb

from tasks.base.errors import InputError
from tasks.base.settings import SourceSettings
from tasks.base.workspace import literal
from tasks.data.sources import Reading
from tasks.kinds.registry import AUTO, found_by

# A list or an object, in JSON's words or Python's.
_WRITTEN = r"""^\s*(\[\s*(["'{\[\d-].*)?\]|\{.*\})\s*$"""
NO_NAME = (
    f"CASE WHEN form IS NULL AND regexp_matches(label, {literal(_WRITTEN)}, 's') "
    "THEN 'a list written as text, where a class name is expected' END"
)
"""SQL: why a row's label is no class name, unless a person says so; NULL when it may be one."""
_BRACKET = r"^\s*[\[{]"
_FLAG = r'"(?:0|1|0\.0|1\.0|true|false)"'
_MUCH = 0.1
"""Of the rows: more without a label are worth a word."""


@dataclass(frozen=True)
class Forms:
    """Rows of view `raw` by what their label is; `written` are texts that begin like a list or an object."""

    rows: int
    names: int
    written: int
    example: str
    spans: int
    lists: int
    empty_lists: int
    longest_list: int
    vectors: int
    blank: int
    lost: int


def count_forms(duck: duckdb.DuckDBPyConnection) -> Forms:
    """Counts of view `raw`, of whose rows those count that can be read."""
    listed = "CASE WHEN form = 'list' THEN json_array_length(label) ELSE 0 END"
    row = duck.execute(
        f"""SELECT count(*), count(*) FILTER (form IS NULL AND trim(label) <> ''),
            count(*) FILTER (form IS NULL AND regexp_matches(label, $bracket)),
            coalesce(min(label) FILTER (form IS NULL AND regexp_matches(label, $bracket)), ''),
            count(*) FILTER (form = 'spans'), count(*) FILTER (form = 'list'),
            count(*) FILTER (form = 'list' AND label = '[]'), coalesce(max({listed}), 0),
            count(*) FILTER (form = 'list' AND regexp_full_match(label, $vector)),
            count(*) FILTER (label IS NULL OR form IS NULL AND trim(label) = ''),
            count(*) FILTER (contains(text, chr(65533)) OR contains(label, chr(65533)))
            FROM raw WHERE reason IS NULL""",
        {"bracket": _BRACKET, "vector": rf"\[{_FLAG}(?:, {_FLAG})+\]"},
    ).fetchall()[0]
    return Forms(*row)


def check_forms(duck: duckdb.DuckDBPyConnection, settings: SourceSettings, reading: Reading) -> Forms:
    """The forms, after what can be no label was refused and what a person should know was noted.

    Raises:
        InputError: the column holds lists or objects written as text, or vectors of 0 and 1; or whether its lists
            are names or sets of names must be said.
    """
    forms = count_forms(duck)
    column = repr(reading.label_column)
    if forms.written > forms.names / 2:
        _check_written(forms, settings, reading)
    # A place for each class, not two classes called 0 and 1.
    if forms.vectors and forms.vectors == forms.lists and _one_length(duck):
        raise InputError(
            f"column {column} holds vectors of 0 and 1, a place for each class, and not the classes' names. "
            'Write the names of those that apply instead, such as ["news", "sports"].'
        )
    if settings.task == AUTO and forms.longest_list == 1 and forms.empty_lists and not forms.spans:
        single, multi = found_by("names"), found_by("list")
        raise InputError(
            f"column {column} holds lists of one label, and {forms.empty_lists:,} that are empty. Have those no label "
            f"yet (--task {single} leaves them out), or does none of the labels apply (--task {multi})?"
        )
    _note(forms, column, reading)
    return forms


def _check_written(forms: Forms, settings: SourceSettings, reading: Reading) -> None:
    column, single = repr(reading.label_column), found_by("names")
    example = forms.example if len(forms.example) <= 60 else f"{forms.example[:60]}…"
    if settings.task == single:
        reading.note(f"column {column} holds values in brackets, such as {example!r}, which were taken as class names")
        return
    how = 'Give real lists, such as ["a", "b"] in JSON Lines or Parquet, or names separated as in a|b'
    if (what := _written_form(forms.example)) is None:
        raise InputError(
            f"column {column} holds values in brackets, such as {example!r}. Are they names (give --task {single}), or "
            f"lists? {how}."
        )
    raise InputError(
        f"column {column} holds {what} written as text, such as {example!r}, and no class names. {how}; or say with "
        f"--task {single} that each is a name as it stands."
    )


def _written_form(value: str) -> str | None:
    """What a text says in JSON's or Python's words; None when neither reads it."""
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        nested = isinstance(found, dict) or any(isinstance(entry, dict) for entry in found)
        return "spans or objects" if nested else "lists"
    return None


def _one_length(duck: duckdb.DuckDBPyConnection) -> bool:
    lengths = "SELECT count(DISTINCT json_array_length(label)) FROM raw WHERE form = 'list' AND reason IS NULL"
    return duck.execute(lengths).fetchall()[0][0] == 1


def _note(forms: Forms, column: str, reading: Reading) -> None:
    without = forms.blank + (0 if forms.spans else forms.empty_lists)
    if without > _MUCH * forms.rows:
        lists = " (an empty list says that none of the labels applies)" if forms.empty_lists else ""
        reading.note(f"column {column}: {without:,} of {forms.rows:,} rows have no label{lists}")
    if forms.lost:
        reading.note(
            f"{forms.lost:,} rows hold U+FFFD or half a surrogate pair: characters were lost before they came here"
        )
