"""About how many rows a source has, before it is read."""

from pathlib import Path

from tasks.base.settings import SourceSettings
from tasks.data.sources import source_of
from tasks.data.sources.files import Files, find_files
from tasks.data.sources.formats import START_BYTES, binary_format
from tasks.data.sources.opening import open_bytes

_PIECE = 1 << 20


def about_rows(settings: SourceSettings) -> int | None:
    """The number of rows as a progress bar needs it, by lines or as the format tells it; None when it is not known."""
    source = settings.source
    if not isinstance(source_of(source), Files) or source == "-":
        return None
    rows = 0
    for file in find_files(source, Path(), settings.data_key):
        with open_bytes(file) as stream:
            start = stream.read(START_BYTES)
            if found := binary_format(start):
                stream.seek(0)
                told = found.rows(stream)
                if told is None:
                    return None
                rows += told
            else:
                rows += start.count(b"\n") - 1
                while piece := stream.read(_PIECE):
                    rows += piece.count(b"\n")
    return max(rows, 1)
