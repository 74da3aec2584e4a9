"""About how many rows a source has, before it is read."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.base.settings import SourceSettings
from tasks.data.sources import source_of
from tasks.data.sources.files import Files, find_files
from tasks.data.sources.formats import arrow, workbook
from tasks.data.sources.opening import open_bytes

_PIECE = 1 << 20


def about_rows(settings: SourceSettings) -> int | None:
    """The number of rows as a progress bar needs it, by lines or Parquet's metadata; None when it is not known."""
    source = settings.source
    if not isinstance(source_of(source), Files) or source == "-":
        return None
    rows = 0
    for file in find_files(source, Path(), settings.data_key):
        with open_bytes(file) as stream:
            start = stream.read(len(arrow.PARQUET))
            if start in (workbook.ZIP, workbook.OLE, b"ARRO", b"\xff\xff\xff\xff"):
                return None
            if start == arrow.PARQUET:
                try:
                    rows += pq.ParquetFile(stream).metadata.num_rows
                except pa.ArrowException:
                    # Reading the rows will say what is wrong, and where.
                    return None
            else:
                rows += start.count(b"\n") - 1
                while piece := stream.read(_PIECE):
                    rows += piece.count(b"\n")
    return max(rows, 1)
