"""`fold` of the run-time contract for whole columns, as a function of DuckDB."""

import duckdb
import pyarrow as pa
from duckdb.func import PythonUDFType
from duckdb.sqltypes import VARCHAR

from bentos.text_classifier.text import fold

# What `fold` does to a text of ASCII characters alone, in DuckDB's own operators, which run on all cores.
_ASCII = (
    "lower(trim(CASE WHEN regexp_matches({text}, '[\\x00-\\x1f\\x7f]|  ') THEN regexp_replace(regexp_replace({text}, "
    "'[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f]', '', 'g'), '[\\t\\n\\r ]+', ' ', 'g') ELSE {text} END))"
)


def fold_expression(text: str) -> str:
    """SQL for `fold` of the column `text`, on a connection prepared by `add_fold`."""
    return f"CASE WHEN strlen({text}) = length({text}) THEN {_ASCII.format(text=text)} ELSE fold({text}) END"


def add_fold(duck: duckdb.DuckDBPyConnection) -> None:
    """Makes `fold` known to the connection."""
    duck.create_function("fold", _fold_column, [VARCHAR], VARCHAR, type=PythonUDFType.ARROW)


def _fold_column(texts: pa.ChunkedArray) -> pa.Array:
    return pa.array([fold(text) for text in texts.to_pylist()], pa.string())
