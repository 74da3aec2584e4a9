"""From values as a format gives them to Arrow batches of a reading's schema."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tasks.data.sources import Reading
from tasks.data.sources.appearance import marked_out
from tasks.data.sources.spans import read_spans

BATCH_ROWS = 20_000
_BATCH_CHARACTERS = 16_000_000

_SURROGATES = re.compile("[\ud800-\udfff]")
# Bytes that the file's encoding does not know are decoded to these (PEP 383).
_FOREIGN_BYTES = re.compile("[\udc80-\udcff]")
_FOREIGN = "bytes that are not of the file's encoding"


class Batcher:
    """Collects rows and gives them back as bounded batches.

    `source` is the name under which the rows' file is shown. `mark` names what column the marks of `add` are of.
    """

    def __init__(self, reading: Reading, source: str, mark: str | None = None) -> None:
        self.schema = reading.schema
        self.source = source
        self._counted = reading.counted
        self._mark = mark
        self._extra_count = len(reading.settings.extra_columns)
        self._empty()

    def _empty(self) -> None:
        self._columns: tuple[list[Any], ...] = tuple([] for _ in range(5 + self._extra_count))
        self._characters = 0

    def add(self, line: int, text: Any, label: Any, *more: Any) -> None:
        """Keeps one row; what is no text or label makes it a rejected one. A row marked as none is counted only.

        Args:
            more: a value for each extra column, then the mark where there is one; see `Columns.chosen`.
        """
        extra = more[: self._extra_count] if more else (None,) * self._extra_count
        if self._mark is not None and marked_out(self._mark, more[-1]):
            self._counted[f"rows marked as rejected or skipped (column {self._mark!r}) were left out"] += 1
            return
        string, wrong = text_of(text)
        name, form, wrong_label = label_of(label)
        if form == "spans":
            string, spans, wrong_label = read_spans(string or "", label)
            name = json.dumps(spans, ensure_ascii=False)
        self._append(line, string, name, form, wrong or wrong_label, tuple(text_of(value)[0] for value in extra))

    def reject(self, line: int, excerpt: str, reason: str) -> None:
        """Keeps a row that cannot be read, with its reason and its beginning."""
        self._append(line, excerpt[:200], None, None, reason, (None,) * self._extra_count)

    def _append(
        self, line: int, text: str | None, label: str | None, form: str | None, reason: str | None, extra: tuple
    ) -> None:
        for column, value in zip(self._columns, (text, label, form, line, reason, *extra), strict=True):
            column.append(value)
        self._characters += len(text or "")

    def full(self) -> bool:
        return len(self._columns[0]) >= BATCH_ROWS or self._characters >= _BATCH_CHARACTERS

    def flush(self) -> Iterator[pa.RecordBatch]:
        """The rows collected so far, if there are any, as one batch."""
        texts, labels, forms, lines, reasons, *extra = self._columns
        if not texts:
            return
        self._empty()
        arrays = [
            _strings(texts, reasons),
            _strings(labels, reasons),
            pa.array(forms, pa.string()),
            pa.repeat(pa.scalar(self.source, pa.string()), len(texts)),
            pa.array(lines, pa.int64()),
            *(_strings(column, reasons).cast(pa.string()) for column in extra),
        ]
        # Last, since the arrays of strings may add to the reasons.
        arrays.insert(5, pa.array(reasons, pa.string()))
        yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def text_of(value: Any) -> tuple[str | None, str | None]:
    """A value as text, or the reason why it is none. Numbers keep their spelling; null and NaN are missing texts."""
    if value is None or isinstance(value, str):
        return value, None
    if _is_nan(value):
        return None, None
    if isinstance(value, bool):
        return str(value).lower(), None
    if isinstance(value, (list, dict, tuple)):
        return str(value)[:200], "a list or an object, where a text is expected"
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape"), None
    return str(value), None


def _is_nan(value: Any) -> bool:
    """Whether a value is NaN, of Python, NumPy or decimal: nothing else is unlike itself."""
    return not isinstance(value, (list, tuple, dict, bytes)) and bool(value != value)


def label_of(value: Any) -> tuple[str | None, str | None, str | None]:
    """A value as (label, form, reason it is none); see `Reading.schema` for the forms."""
    if value is None or isinstance(value, str):
        return value, None, None
    if isinstance(value, dict):
        return None, None, "an object, where a label is expected"
    if isinstance(value, (list, tuple)):
        if any(isinstance(entry, dict) for entry in value):
            return None, "spans", None
        if value and all(entry is None or _is_nan(entry) for entry in value):
            return None, None, None
        names = [text_of(entry) for entry in value]
        if any(name is None or wrong for name, wrong in names):
            return None, None, "a list of labels that holds something else"
        return json.dumps([name for name, _ in names], ensure_ascii=False), "list", None
    name, wrong = text_of(value)
    return name, None, wrong


def _strings(values: list[str | None], reasons: list[str | None]) -> pa.Array:
    try:
        return pa.array(values, pa.large_string())
    except UnicodeEncodeError:
        for row, value in enumerate(values):
            if value is not None and _SURROGATES.search(value):
                values[row], foreign = _valid(value)
                reasons[row] = reasons[row] or (_FOREIGN if foreign else None)
        return pa.array(values, pa.large_string())


def _valid(value: str) -> tuple[str, bool]:
    """`value` without lone surrogates, and whether they stood for bytes of another encoding."""
    # A pair of surrogates that JSON escaped one by one is one character.
    joined = value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return _SURROGATES.sub("\ufffd", joined), _FOREIGN_BYTES.search(joined) is not None
