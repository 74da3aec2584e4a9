"""CSV and its relatives. Python's reader is used, since every row must keep its line and every fault its reason."""

import csv
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import IO

import pyarrow as pa

from tasks.errors import InputError
from tasks.sources import Reading
from tasks.sources.batches import Batcher
from tasks.sources.columns import find_columns, listed
from tasks.sources.opening import File, open_text

DELIMITERS = (",", "\t", ";", "|")
_SAMPLE_LINES = 500
# A quoted field with more lines than this is taken for a quote that was never closed.
_MAX_FIELD_LINES = 10_000

csv.field_size_limit(sys.maxsize)


@dataclass(frozen=True)
class Dialect:
    """How a file separates and quotes its fields."""

    delimiter: str
    doubled_quotes: bool
    space_after: bool

    def reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            doublequote=self.doubled_quotes,
            escapechar=None if self.doubled_quotes else "\\",
            skipinitialspace=self.space_after,
            strict=True,
        )


def read(file: File, encoding: str, reading: Reading) -> Iterator[pa.RecordBatch]:
    """Batches of `reading.schema`; `line` is the line on which the row begins.

    Rows with another number of fields than the header, with a stray quote, and rows swallowed by a quote
    that is not closed are rejected ones.

    Raises:
        InputError: the file is empty, or its header does not name the columns.
    """
    with open_text(file, encoding) as text:
        sample = list(islice(text, _SAMPLE_LINES))
    if not any(line.strip() for line in sample):
        raise InputError(f"{file.name} is empty; it needs a header such as text,label and one row a line.")
    dialect = find_dialect(sample, "tsv" in file.suffixes)
    batcher = Batcher(reading, file.name)
    with open_text(file, encoding) as text:
        records = Records(text, dialect)
        header = next((fields for _, fields, _ in records if fields), [])
        columns = find_columns(header, reading.settings, file.name) if len(header) > 1 else None
        if columns is None:
            raise InputError(
                f"{file.name}: only one column was found. {listed(header)} "
                "Separate the columns with a comma, tab, semicolon or |, and name them in the first line."
            )
        reading.text_column, reading.label_column = columns.text_name, columns.label_name
        width, text_at, label_at, extra_at = len(header), columns.text, columns.label, columns.extra
        for line, fields, wrong in records:
            if wrong:
                batcher.reject(line, fields[0], wrong)
            elif len(fields) == width:
                batcher.add(line, fields[text_at], fields[label_at], tuple(fields[index] for index in extra_at))
            elif fields:
                batcher.reject(
                    line, dialect.delimiter.join(fields), f"{len(fields)} fields where the header has {width}"
                )
            if batcher.full():
                yield from batcher.flush()
    yield from batcher.flush()


def find_dialect(sample: list[str], tabs: bool) -> Dialect:
    """The delimiter that cuts most of the sample's records into one number of fields above one."""
    text = "".join(sample)
    doubled = not (text.count('\\"') > text.count('""'))
    scores = {}
    for delimiter in DELIMITERS:
        records = [
            fields for _, fields, wrong in Records(iter(sample), Dialect(delimiter, doubled, False)) if not wrong
        ]
        widths = Counter(len(fields) for fields in records if fields)
        header = len(records[0]) if records else 0
        same = widths[header] / max(1, widths.total())
        scores[delimiter] = (header > 1, same > 0.5, same * (header > 1), tabs and delimiter == "\t", header)
    best = max(DELIMITERS, key=lambda delimiter: scores[delimiter])
    header = sample[0].strip("\ufeff").split(best)
    spaced = len(header) > 1 and all(name.startswith(" ") for name in header[1:])
    return Dialect(best, doubled, spaced)


class Records:
    """Records of a delimited text as (first line, fields, why it is bad).

    After a fault reading goes on at the line after the one on which the faulty record began, so that
    a quote which is never closed costs one row and not the rest of the file.
    """

    def __init__(self, lines: Iterator[str] | IO[str], dialect: Dialect) -> None:
        self._lines = iter(lines)
        self._dialect = dialect
        self._again: list[str] = []
        self._current: list[str] = []
        self._line = 0

    def _feed(self) -> Iterator[str]:
        while True:
            line = self._again.pop() if self._again else next(self._lines, None)
            if line is None:
                return
            self._current.append(line)
            if len(self._current) > _MAX_FIELD_LINES:
                raise csv.Error("unexpected end of data")
            yield line

    def __iter__(self) -> Iterator[tuple[int, list[str], str | None]]:
        while True:
            reader = self._dialect.reader(self._feed())
            try:
                for fields in reader:
                    first, used = self._line + 1, len(self._current)
                    self._line += used
                    self._current.clear()
                    yield first, fields, None
                return
            except csv.Error as error:
                first, lines = self._line + 1, self._current
                self._current = []
                self._again.extend(reversed(lines[1:]))
                self._line += 1
                swallowed = f", which would swallow the rows up to line {first + len(lines) - 1}" if lines[1:] else ""
                yield first, [lines[0].rstrip("\r\n")], _fault(error) + swallowed


def _fault(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return "a quote is opened and never closed"
    if "expected after" in str(error):
        return "a quote stands inside a quoted field; double it"
    return str(error)
