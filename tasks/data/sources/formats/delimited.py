"""CSV and its relatives. Python's reader is used, since every row must keep its line and every fault its reason."""

import csv
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from tasks.base.errors import InputError
from tasks.data.sources import Reading
from tasks.data.sources.batches import Batcher
from tasks.data.sources.columns import Columns, find_columns, listed
from tasks.data.sources.formats import TextFormat, register
from tasks.data.sources.opening import File, Overlong, Text, open_text

DELIMITERS = (",", "\t", ";", "|")
_SAMPLE_LINES = 500
_SAMPLE_CHARACTERS = 1_000_000
# Of a file with one column: no text holds this separator, so that commas part nothing there.
_NO_DELIMITER = "\x1f"
_NO_HEADER = " If its first line is already a row, put a header such as text,label above it."
# A quoted field with more lines than this is taken for a quote that was never closed.
_MAX_FIELD_LINES = 10_000

_TOO_LONG = "a row longer than the memory allows; --memory gives more"
_SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_QUOTED_FIELD = re.compile(r'(?:^|\t)"[^"]*"(?=[\t\r\n]|$)', re.MULTILINE)

csv.field_size_limit(sys.maxsize)


@dataclass(frozen=True)
class Dialect:
    """How a file separates and quotes its fields."""

    delimiter: str
    doubled_quotes: bool = True
    space_after: bool = False
    quoted: bool = True

    def reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            quoting=csv.QUOTE_MINIMAL if self.quoted else csv.QUOTE_NONE,
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
    with open_text(file, encoding, reading.longest_line) as text:
        sample = _sample(text)
    skipped, delimiter = _before_header(sample)
    sample = sample[skipped:]
    if not sample:
        raise InputError(f"{file.name} is empty; it needs a header such as text,label and one row a line.")
    dialect = find_dialect(sample, "tsv" in file.suffixes, (delimiter,) if delimiter else DELIMITERS)
    with open_text(file, encoding, reading.longest_line) as text:
        lines = iter(text)
        for _ in range(skipped):
            next(lines)
        records = Records(lines, dialect, skipped, reading.longest_line)
        header = next((fields for _, fields, _ in records if fields), [])
        beside = file.beside(header)
        columns = _columns([*header, *beside], list(beside.values()), sample, dialect, file, reading)
        batcher = Batcher(reading, file.name, columns.mark_name)
        width, chosen = len(header), columns.chosen
        if reading.labelled and columns.label < width:
            records.swallows = Swallowing(sample, dialect, columns.text, columns.label, width)
        for line, fields, wrong in records:
            if wrong:
                batcher.reject(line, fields[0], wrong)
            elif reading.labelled and len(fields) > 1 and not any(map(str.strip, fields)):
                reading.counted["rows that hold nothing but delimiters were left out"] += 1
            elif len(fields) == width:
                values = [*fields, *beside.values()] if beside else fields
                batcher.add(line, *(values[place] for place in chosen))
            elif any(map(str.strip, fields)):
                batcher.reject(
                    line,
                    dialect.delimiter.join(fields),
                    f"{len(fields)} field{'s'[: len(fields) - 1]} where the header has {width}",
                )
            if batcher.full():
                yield from batcher.flush()
    yield from batcher.flush()


def _sample(text: Text) -> list[str]:
    """The first lines, 500 or as many as a million characters hold."""
    lines: list[str] = []
    characters = 0
    for line in islice(text, _SAMPLE_LINES):
        characters += len(line)
        if lines and characters > _SAMPLE_CHARACTERS:
            break
        lines.append(line)
    return lines


def _before_header(sample: list[str]) -> tuple[int, str | None]:
    """(lines before the header, the delimiter that one of them names): empty lines, those of delimiters alone, and
    `sep=;`, which spreadsheets write and read."""
    delimiter = None
    for number, line in enumerate(sample):
        if named := _SEPARATOR.fullmatch(line.strip("\ufeff \r\n")):
            delimiter = named[1]
        elif line.strip("\ufeff \r\n" + "".join(DELIMITERS)):
            return number, delimiter
    return len(sample), delimiter


def _columns(
    names: list[str], beside: list[str | None], sample: list[str], dialect: Dialect, file: File, reading: Reading
) -> Columns:
    if len(names) < 2 and reading.labelled:
        raise InputError(
            f"{file.name}: only one column was found. {listed(names)} "
            "Separate the columns with a comma, tab, semicolon or |, and name them in the first line."
        )
    records = islice(Records(iter(sample), dialect), 1, None)
    rows = [fields + beside for _, fields, wrong in records if not wrong and len(fields) + len(beside) == len(names)]
    return find_columns(names, reading, file.name, rows, _NO_HEADER)


def find_dialect(sample: list[str], tabs: bool, delimiters: Sequence[str] = DELIMITERS) -> Dialect:
    """The delimiter that cuts most of the sample's records into one number of fields above one."""
    text = "".join(sample)
    doubled = not (text.count('\\"') > text.count('""'))
    scores = {}
    for delimiter in delimiters:
        records = [fields for _, fields, wrong in Records(iter(sample), Dialect(delimiter, doubled)) if not wrong]
        widths = Counter(len(fields) for fields in records if fields)
        header = len(records[0]) if records else 0
        same = widths[header] / max(1, widths.total())
        scores[delimiter] = (header > 1, same > 0.5, same * (header > 1), tabs and delimiter == "\t", header)
    best = max(delimiters, key=lambda delimiter: scores[delimiter])
    if not scores[best][0]:
        return Dialect(_NO_DELIMITER, doubled)
    header = sample[0].split(best)
    return Dialect(
        best,
        doubled,
        space_after=len(header) > 1 and all(name.startswith(" ") for name in header[1:]),
        # Tab-separated text seldom quotes: there a quote is a mark like any other, unless a whole field stands in two.
        quoted=best != "\t" or _QUOTED_FIELD.search(text) is not None,
    )


class Records:
    """Records of a delimited text as (first line, fields, why it is bad).

    After a fault reading goes on at the line after the one on which the faulty record began, so that
    a quote which is never closed costs one row and not the rest of the file.
    """

    def __init__(self, lines: Iterator[str], dialect: Dialect, before: int = 0, longest: int = sys.maxsize) -> None:
        """`before`: lines that were read before these; `longest`: characters of a record that are held."""
        self._lines = lines
        self._dialect = dialect
        self._longest = longest
        self.swallows: Callable[[list[str]], bool] = lambda lines: False
        self._again: list[str] = []
        self._current: list[str] = []
        self._line = before

    def _feed(self) -> Iterator[str]:
        held = 0
        while True:
            line = self._again.pop() if self._again else next(self._lines, None)
            if line is None:
                return
            held = held + len(line) if self._current else len(line)
            self._current.append(line)
            if isinstance(line, Overlong) or held > self._longest:
                raise csv.Error(_TOO_LONG)
            if len(self._current) > _MAX_FIELD_LINES:
                raise csv.Error("unexpected end of data")
            yield line

    def __iter__(self) -> Iterator[tuple[int, list[str], str | None]]:
        while True:
            reader = self._dialect.reader(self._feed())
            try:
                for fields in reader:
                    first, used = self._line + 1, len(self._current)
                    if used > 1 and self.swallows(self._current):
                        yield self._fault("a quote is opened and not closed")
                        continue
                    self._line += used
                    self._current.clear()
                    yield first, fields, None
                return
            except csv.Error as error:
                yield self._fault(_reason(error))

    def _fault(self, reason: str) -> tuple[int, list[str], str]:
        """The faulty record's first line, whose other lines are read again."""
        lines, self._current = self._current, []
        self._again.extend(reversed(lines[1:]))
        self._line += 1
        if lines[1:] and reason != _TOO_LONG:
            reason += f", which would swallow the rows up to line {self._line + len(lines) - 1}"
        return self._line, [lines[0].rstrip("\r\n")], reason


class Swallowing:
    """Whether a quoted field holds what are rows of their own: most of its lines end (or begin) with a known label.

    A quote that is opened in one row and met by a stray one rows later is no fault to a reader of CSV.
    """

    def __init__(self, sample: list[str], dialect: Dialect, text: int, label: int, width: int) -> None:
        self._delimiter = dialect.delimiter
        # Counted from the nearer end, so that delimiters within the text do not matter.
        self._place = label if label < text else label - width
        self._labels = {name for line in sample[1:] if '"' not in line and (name := self._label(line))}

    def __call__(self, lines: list[str]) -> bool:
        known = sum(self._label(line) in self._labels for line in lines[:-1])
        return known >= max(1, (len(lines) - 1) / 2)

    def _label(self, line: str) -> str | None:
        cells = line.rstrip("\r\n").split(self._delimiter)
        return cells[self._place] if len(cells) > 1 and -len(cells) <= self._place < len(cells) else None


def _reason(error: csv.Error) -> str:
    if "unexpected end of data" in str(error):
        return "a quote is opened and not closed"
    if "expected after" in str(error):
        return "a quote stands inside a quoted field; double it"
    return str(error)


register(TextFormat("CSV", 100, lambda file, start: True, read))
