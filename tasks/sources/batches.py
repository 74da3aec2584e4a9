"""From values as a format gives them to Arrow batches of a reading's schema."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa

from tasks.sources import Reading

BATCH_ROWS = 20_000
BATCH_CHARACTERS = 16_000_000

_SURROGATES = re.compile("[\ud800-\udfff]")
# Bytes that the file's encoding does not know are decoded to these (PEP 383).
_ESCAPED_BYTES = re.compile("[\udc80-\udcff]")


class Batcher:
    """Collects rows and gives them back as bounded batches.

    `source` is the name under which the rows' file is shown; `extra` one value an extra column.
    """

    def __init__(self, reading: Reading, source: str) -> None:
        self.schema = reading.schema
        self.source = source
        self._extra_count = len(reading.settings.extra_columns)
        self._reset()

    def _reset(self) -> None:
        self._columns: tuple[list[Any], ...] = tuple([] for _ in range(5 + self._extra_count))
        self._characters = 0

    def add(self, line: int, text: Any, label: Any, extra: tuple[Any, ...] = ()) -> None:
        """Keeps one row; values that are no text or label make it a rejected one."""
        text, wrong = text_of(text)
        name, form, wrong_label = label_of(label)
        self._append(line, text, name, form, wrong or wrong_label, tuple(text_of(value)[0] for value in extra))

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
        return len(self._columns[0]) >= BATCH_ROWS or self._characters >= BATCH_CHARACTERS

    def flush(self) -> Iterator[pa.RecordBatch]:
        """The rows collected so far, if there are any, as one batch."""
        texts, labels, forms, lines, reasons, *extra = self._columns
        if not texts:
            return
        self._reset()
        text_array = _strings(texts, lambda row: reasons.__setitem__(row, reasons[row] or "bytes of another encoding"))
        label_array = _strings(
            labels, lambda row: reasons.__setitem__(row, reasons[row] or "bytes of another encoding in the label")
        )
        yield pa.RecordBatch.from_arrays(
            [
                text_array,
                label_array,
                pa.array(forms, pa.string()),
                pa.repeat(pa.scalar(self.source, pa.string()), len(texts)),
                pa.array(lines, pa.int64()),
                pa.array(reasons, pa.string()),
                *(_strings(column, lambda row: None).cast(pa.string()) for column in extra),
            ],
            schema=self.schema,
        )


def text_of(value: Any) -> tuple[str | None, str | None]:
    """A value as text, or the reason why it is none. Numbers keep their spelling; null is a missing text."""
    if value is None or isinstance(value, str):
        return value, None
    if isinstance(value, bool):
        return str(value).lower(), None
    if isinstance(value, (list, dict, tuple)):
        return json.dumps(value, ensure_ascii=False, default=str)[:200], "the text is no string but a list or an object"
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape"), None
    return str(value), None


def label_of(value: Any) -> tuple[str | None, str | None, str | None]:
    """A value as (label, form, reason it is none); see `Reading.schema` for the forms."""
    if value is None or isinstance(value, str):
        return value, None, None
    if isinstance(value, (list, tuple)):
        if any(isinstance(entry, dict) for entry in value):
            return _spans(value)
        names = [text_of(entry) for entry in value]
        if any(name is None or wrong for name, wrong in names):
            return None, None, "the list of labels holds something that is no label"
        return json.dumps([name for name, _ in names], ensure_ascii=False), "list", None
    if isinstance(value, dict):
        return None, None, "the label is an object"
    name, wrong = text_of(value)
    return name, None, wrong


def _spans(value: list | tuple) -> tuple[str | None, str | None, str | None]:
    spans = []
    for entry in value:
        span = {key: entry.get(key) for key in ("start", "end", "label")} if isinstance(entry, dict) else {}
        if not all(isinstance(span.get(key), int) for key in ("start", "end")) or span["label"] is None:
            return None, None, "a span needs whole numbers start and end, and a label"
        spans.append({**span, "label": text_of(span["label"])[0]})
    return json.dumps(sorted(spans, key=lambda span: span["start"]), ensure_ascii=False), "spans", None


def _strings(values: list[str | None], broken: Callable[[int], None]) -> pa.Array:
    try:
        return pa.array(values, pa.large_string())
    except UnicodeEncodeError:
        return pa.array([_valid(value, row, broken) for row, value in enumerate(values)], pa.large_string())


def _valid(value: str | None, row: int, broken: Callable[[int], None]) -> str | None:
    if value is None:
        return None
    # A pair of surrogates that JSON escaped one by one is one character.
    joined = (
        value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass") if max(value) >= "\ud800" else value
    )
    if _ESCAPED_BYTES.search(joined) and not re.search("[\ud800-\udc7f\udd00-\udfff]", joined):
        broken(row)
    return _SURROGATES.sub("\ufffd", joined)
