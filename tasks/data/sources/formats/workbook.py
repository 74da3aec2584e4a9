"""Workbooks of spreadsheet programs: xlsx, xlsb, xls and ods, read by calamine."""

import datetime
import io
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any

import pyarrow as pa
from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, PasswordError

from tasks.base.errors import InputError
from tasks.data.sources import Reading
from tasks.data.sources.batches import Batcher
from tasks.data.sources.columns import SAMPLE_ROWS, find_columns
from tasks.data.sources.formats import BinaryFormat, register
from tasks.data.sources.opening import File, open_bytes

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


def read(file: File, reading: Reading) -> Iterator[pa.RecordBatch]:
    """Batches of `reading.schema` from one sheet, whose first row with a value is the header.

    `line` is the sheet's row. Whole numbers come as a sheet shows them, without `.0`.

    Raises:
        InputError: it is no workbook, has a password, or no such sheet.
    """
    with open_bytes(file) as stream:
        content = io.BytesIO(stream.read())
    try:
        workbook = CalamineWorkbook.from_filelike(content)
        sheet = _sheet(workbook, file, reading)
        rows = _rows(sheet)
        names = [str(_value(cell)) for cell in next(rows, (0, []))[1]]
        beside = file.beside(names)
        head = list(islice(rows, SAMPLE_ROWS))
        sample = [[*row, *beside.values()] for _, row in head]
        columns = find_columns([*names, *beside], reading, f"{file.name}, sheet {sheet.name!r}", sample)
        batcher = Batcher(reading, file.name, columns.mark_name)
        for line, row in chain(head, rows):
            row.extend(beside.values())
            batcher.add(line, *(row[place] for place in columns.chosen))
            if batcher.full():
                yield from batcher.flush()
        yield from batcher.flush()
    except PasswordError as error:
        raise InputError(f"{file.name} is a workbook with a password; save it without one.") from error
    except CalamineError as error:
        kind = "a zip archive" if content.getvalue().startswith(_ZIP) else "an old document"
        raise InputError(f"{file.name} is {kind} and no workbook; unpack it, or save its table as CSV.") from error


def _sheet(workbook: CalamineWorkbook, file: File, reading: Reading) -> CalamineSheet:
    wanted, names = reading.settings.sheet, workbook.sheet_names
    if wanted is not None:
        if wanted not in names:
            raise InputError(
                f"{file.name}: there is no sheet {wanted!r}; its sheets are {', '.join(map(repr, names))}."
            )
        return workbook.get_sheet_by_name(wanted)
    filled = [sheet for sheet in map(workbook.get_sheet_by_name, names) if sheet.height]
    if not filled:
        raise InputError(f"{file.name} is a workbook without a row.")
    if filled[1:]:
        others = ", ".join(repr(sheet.name) for sheet in filled[1:])
        reading.note(f"{file.name}: sheet {filled[0].name!r} was read; --sheet names another one of {others}")
    return filled[0]


def _rows(sheet: CalamineSheet) -> Iterator[tuple[int, list[Any]]]:
    """The rows with a value, by their number in the sheet, from 1."""
    # Rows and columns before the first value are left out.
    first = sheet.start[0] + 1 if sheet.start else 1
    for line, row in enumerate(sheet.to_python(skip_empty_area=True), start=first):
        values = [_value(cell) for cell in row]
        if any(value is not None for value in values):
            yield line, values


def _value(cell: Any) -> Any:
    if cell == "":
        return None
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    return cell.isoformat() if isinstance(cell, (datetime.date, datetime.time)) else cell


register(BinaryFormat("Excel workbook", (_ZIP, _OLE), ("xlsx",), read))
