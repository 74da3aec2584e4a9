"""Ingest: from a source to one table of texts and labels, with what could not be read set aside."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from bentos.serving.records.personal_data import Redactor
from tasks.base.errors import InputError
from tasks.base.manifests import Table, content_of
from tasks.base.progress import Progress, silent, within
from tasks.base.settings import SourceSettings
from tasks.base.workspace import engine, identifier, literal, scratch_folder
from tasks.data.label_forms import NO_NAME
from tasks.data.personal_data import without_personal_data
from tasks.data.quarantine import by_kind, write_quarantine
from tasks.data.sources import OWN_COLUMNS, Reading, shown, source_of
from tasks.data.sources.length import about_rows
from tasks.data.task_kind import find_task
from tasks.kinds.registry import KINDS, found_by

_READ = 0.8
"""Share of the work that is done once the rows are read."""


def ingest(
    settings: SourceSettings,
    folder: Path,
    seed: int,
    personal: Redactor | None = None,
    progress: Progress = silent,
) -> Table:
    """Reads `settings.source` into `folder`/table.parquet.

    Rows that cannot be read go to quarantine.csv (source, line, reason, excerpt). With `settings.rows`
    that many rows are drawn, each text with the same chance, by `seed`, whatever their order. What
    `personal` finds in texts and extra columns is replaced before anything is kept, or its row set aside.

    Raises:
        InputError: there is no such source, it holds no row, or its columns cannot be told.
        PipelineError: the folder cannot be written.
    """
    for name in settings.extra_columns:
        if name in OWN_COLUMNS:
            raise InputError(f"The extra column {name!r} has a name that the pipeline uses itself; rename it.")
    with scratch_folder(folder) as scratch, engine(scratch, settings.memory) as duck:
        reading = Reading(settings, scratch)
        batches = source_of(settings.source).read(reading)
        if personal is not None:
            batches = without_personal_data(batches, personal, ("text", *settings.extra_columns))
        # What lies elsewhere would travel twice if its rows were counted first.
        total = None if "://" in settings.source else about_rows(settings)
        told = within(progress, 0.0, _READ)
        rows_read = _store(_counted(batches, total, told), reading.schema, scratch / "raw.parquet")
        progress(_READ, f"{rows_read:,} rows read, to be sorted and written")
        if rows_read == 0:
            raise InputError(f"{shown(settings.source)}: its columns are named, but there is no row.")
        duck.read_parquet(str(scratch / "raw.parquet")).create_view("raw")
        task, separator = find_task(duck, settings, reading)
        labels = KINDS[task].labels
        if labels.placed and personal is not None and personal.policy in ("mask", "hash"):
            raise InputError(
                f"data.personal_data {personal.policy} would move the spans of a {task} table: choose drop or keep"
            )
        named = settings.task == found_by("names")
        reasons = labels.misfit if named else f"{NO_NAME}, {labels.misfit}"
        duck.execute(f"CREATE VIEW judged AS SELECT * REPLACE (coalesce(reason, {reasons}) AS reason) FROM raw")
        quarantined = _reasons(duck)
        if sum(quarantined.values()) == rows_read:
            raise InputError(f"{_first_fault(duck)} No row of the source can be used.")
        rows = _write_table(duck, settings, labels.typed.replace("$separator", literal(separator)), seed, scratch)
        write_quarantine(
            duck, "SELECT source, line, reason, text FROM judged WHERE reason IS NOT NULL", scratch / "quarantine.csv"
        )
        for name in ("quarantine.csv", "table.parquet"):
            (scratch / name).replace(folder / name)
    if rows < rows_read - sum(quarantined.values()):
        reading.note(f"{rows:,} of {rows_read:,} rows were drawn")
    return Table(
        path=folder / "table.parquet",
        task=task,
        text_column=reading.text_column,
        label_column=reading.label_column,
        label_separator=separator,
        extra_columns=list(settings.extra_columns),
        rows_read=rows_read,
        rows=rows,
        quarantined=by_kind(quarantined),
        quarantine=folder / "quarantine.csv",
        notes=reading.told(),
        content=content_of(folder / "table.parquet", task),
    )


def _counted(batches: Iterator[pa.RecordBatch], total: int | None, progress: Progress) -> Iterator[pa.RecordBatch]:
    """The batches; the share is 0 where `total`, about as many rows as there are, is not known."""
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        progress(min(rows / total, 1.0) if total else 0.0, f"{rows:,} rows read")
        yield batch


def _store(batches: Iterator[pa.RecordBatch], schema: pa.Schema, path: Path) -> int:
    """Writes the batches as they come; the number of rows."""
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd", compression_level=1) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _reasons(duck: duckdb.DuckDBPyConnection) -> dict[str, int]:
    return dict(
        duck.execute(
            "SELECT reason, count(*) FROM judged WHERE reason IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, min(line), 1"
        ).fetchall()
    )


def _first_fault(duck: duckdb.DuckDBPyConnection) -> str:
    source, line, reason = duck.execute(
        "SELECT source, line, reason FROM judged WHERE reason IS NOT NULL ORDER BY source, line LIMIT 1"
    ).fetchall()[0]
    return f"{source}, line {line}: {reason}."


def _write_table(
    duck: duckdb.DuckDBPyConnection, settings: SourceSettings, label: str, seed: int, scratch: Path
) -> int:
    extra = "".join(f", {identifier(name)}" for name in settings.extra_columns)
    # The hash of a text orders the texts in a way that no file order can change; its copies stay together.
    drawn = (
        f"QUALIFY row_number() OVER (ORDER BY md5_number_lower(text || {literal(str(seed))}), label, line)"
        f" <= {settings.rows} ORDER BY source, line"
        if settings.rows
        else ""
    )
    duck.execute(
        f"""COPY (SELECT text, {label} AS label, source, line{extra} FROM judged WHERE reason IS NULL {drawn})
            TO {literal(scratch / "table.parquet")} (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"""
    )
    return pq.read_metadata(scratch / "table.parquet").num_rows
