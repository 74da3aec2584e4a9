"""Where a stage works: a scratch folder that never outlives it, and DuckDB spilling into it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from tasks.base.errors import InputError, PipelineError


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A folder inside `folder` that is gone afterwards, whatever happens; results are moved out when whole.

    Raises:
        PipelineError: `folder` cannot be written, or its disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(".work-*"):
            # Of a run that was killed; a stage's folder is worked in by one run at a time.
            shutil.rmtree(left, ignore_errors=True)
        scratch = Path(tempfile.mkdtemp(prefix=".work-", dir=folder))
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise PipelineError(
            f"{folder} cannot be written: {error.strerror or error}. Free some space or check the permissions."
        ) from error


@contextmanager
def engine(scratch: Path, memory: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB connection that works within `memory` (such as 2GB) and spills into `scratch`.

    Raises:
        InputError: `memory` is no size, or too small for the table.
        PipelineError: the disk is full.
    """
    # What is not built in would be fetched from the makers' server.
    connection = duckdb.connect(config={"autoinstall_known_extensions": False})
    try:
        connection.execute("SET enable_progress_bar = false")
        connection.execute("SET temp_directory = ?", [str(scratch / "spill")])
        try:
            connection.execute("SET memory_limit = ?", [memory])
        except duckdb.Error as error:
            raise InputError(f"memory: {memory!r} is no size; write it like 2GB or 512MB.") from error
        yield connection
    except duckdb.OutOfMemoryException as error:
        raise InputError(f"memory: {memory} is too little for this table; give more ({error}).") from error
    except duckdb.IOException as error:
        raise PipelineError(
            f"{scratch.parent} cannot be written: {error}. Free some space or check the permissions."
        ) from error
    finally:
        connection.close()


def literal(text: str | Path) -> str:
    """`text` as a string of SQL, where a parameter cannot stand."""
    return "'" + str(text).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """`name` as a column of SQL."""
    return '"' + name.replace('"', '""') + '"'
