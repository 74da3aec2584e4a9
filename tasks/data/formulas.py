"""Cells that a spreadsheet would run as formulas when it opens a CSV file, made harmless by an apostrophe in front.

Texts, labels, extra columns, names of columns and of files come from strangers: `=HYPERLINK(...)` in one of them would
send what stands beside it elsewhere. A plain number, such as -1.5, is no formula and stays.
"""

from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

# In RE2's spelling, which Arrow and DuckDB share. The wide signs are taken for the others in some locales.
_FORMULA = r"^[=+\-@\t\r\n＝＋－＠]"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


class Disarmed(NamedTuple):
    """The table, and the number of cells that got an apostrophe."""

    table: pa.Table
    cells: int


def disarmed(table: pa.Table) -> Disarmed:
    """The table with an apostrophe before each text, and each column's name, that a spreadsheet would run."""
    cells = 0
    columns = []
    for column in table.columns:
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            columns.append(column)
            continue
        live = pc.and_not(pc.match_substring_regex(column, _FORMULA), pc.match_substring_regex(column, _NUMBER))  # pyright: ignore[reportAttributeAccessIssue]
        cells += pc.sum(live).as_py() or 0  # pyright: ignore[reportAttributeAccessIssue]
        mark, nothing = pa.scalar("'", column.type), pa.scalar("", column.type)
        marked = pc.binary_join_element_wise(mark, column, nothing)  # pyright: ignore[reportAttributeAccessIssue]
        columns.append(pc.if_else(live, marked, column))  # pyright: ignore[reportAttributeAccessIssue]
    schema = disarmed_names(table.schema)
    return Disarmed(pa.Table.from_arrays(columns, schema=schema), cells)


def disarmed_names(schema: pa.Schema) -> pa.Schema:
    """The schema with an apostrophe before each column's name that a spreadsheet would run."""
    names = pa.array(schema.names, pa.string())
    live = pc.match_substring_regex(names, _FORMULA).to_pylist()  # pyright: ignore[reportAttributeAccessIssue]
    fields = [field.with_name(f"'{field.name}") if runs else field for field, runs in zip(schema, live, strict=True)]
    return pa.schema(fields, schema.metadata)


def disarmed_sql(text: str) -> str:
    """An SQL expression (DuckDB) for the expression `text` made harmless."""
    runs = f"regexp_matches({text}, '{_FORMULA}') AND NOT regexp_matches({text}, '{_NUMBER}')"
    return f"CASE WHEN {runs} THEN '''' || {text} ELSE {text} END"
