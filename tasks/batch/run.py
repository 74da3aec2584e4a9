"""One input predicted into one output, taken up where a killed run left it.

Each finished chunk is a Parquet file in `OUTPUT.parts`, named by its place and by the content of its rows,
the model and the options, and put there by one rename. Starting the same command again reads the input
anew, finds those names and predicts only what is missing; what has changed since has another name.
"""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import chain, islice
from pathlib import Path

import pyarrow as pa

from bentos.serving.cpus import share
from tasks.base.errors import InputError, PipelineError
from tasks.base.manifests import Record, content_of
from tasks.base.settings import BatchSettings, SourceSettings
from tasks.base.state import make_asked
from tasks.batch.answers import answer_schema, read_manifest
from tasks.batch.chunks import digest, read_chunks
from tasks.batch.output import format_of, join, keys_of
from tasks.batch.processes import Submit, answering
from tasks.data.sources import shown

Progress = Callable[[int, str], None]
"""Called with the rows done so far and a short text."""


class BatchResult(Record):
    """What came of one input."""

    output: Path
    model: str
    rows: int
    errors: int
    kept: int
    notes: list[str]


def batch_predict(
    source: SourceSettings,
    output: Path,
    model: Path,
    settings: BatchSettings,
    progress: Progress = lambda rows, text: None,
    key: str | None = None,
) -> BatchResult:
    """Predicts every row of `source.source` into `output` (.parquet, .csv or .jsonl), rows and order kept.

    Where the name goes on with .sealed, the output is sealed for `settings.seal`, and so are its chunks.

    Columns: source, line, the extra columns, text, label, score, labels, in_scope, error; of a tagging model
    spans too. A row that cannot be answered stands there with its reason in `error`. The memory needed does
    not depend on the number of rows.

    Args:
        model: a model folder.
        key: source of the key that opens a sealed one; what MODEL_SERVICE_KEY names when None.

    Returns:
        The number of rows, those with an `error`, and those `kept` from an earlier run that was killed.

    Raises:
        InputError: the source, the output's name, a label or the model folder cannot be used.
        PipelineError: the output cannot be written, or a process died; what is finished is kept.
    """
    format_of(output)
    keys = keys_of(output, settings, source.data_key)
    # A worker's answers wait as chunks, not as the output.
    working = settings.model_copy(update={"seal": keys and keys.waiting})
    manifest = read_manifest(model, key)
    if unknown := sorted(set(settings.labels) - set(manifest.labels)):
        raise InputError(f"labels: {unknown[0]!r} is none of the model's labels: {', '.join(manifest.labels[:20])}.")
    parts = output.with_name(f"{output.name}.parts")
    try:
        make_asked(output.parent)
        parts.mkdir(exist_ok=True)
        with read_chunks(source, settings.chunk_rows) as (chunks, reading):
            run = _Run(parts, content_of(model, settings.answer_key(), keys and keys.name), progress)
            run.predict(chunks, model, working, key)
        if not run.parts:
            raise InputError(f"{shown(source.source)}: there is a header but no row below it.")
        schema = answer_schema(manifest, source.extra_columns)
        joined = join(run.parts, schema, output, keys, csv_raw=settings.csv_raw)
    except OSError as error:
        raise PipelineError(
            f"{output} cannot be written: {error.strerror or error}. Free some space or check the permissions; "
            "finished chunks are kept."
        ) from error
    finally:
        if parts.exists() and not any(parts.iterdir()):
            parts.rmdir()
    shutil.rmtree(parts)
    return BatchResult(
        output=output,
        model=f"{manifest.name}:{manifest.version}",
        rows=run.rows,
        errors=joined.errors,
        kept=run.kept,
        notes=[*reading.told(), *_said_of(joined.disarmed)],
    )


def _said_of(disarmed: int) -> list[str]:
    if not disarmed:
        return []
    return [
        f"{disarmed:,} cells that a spreadsheet would run as formulas (they begin with = + - @, a tab or a line's end)"
        " got an apostrophe in front; --csv-raw leaves them as they are"
    ]


class _Run:
    """The parts of one output as they become finished."""

    def __init__(self, folder: Path, key: str, progress: Progress) -> None:
        self.folder = folder
        self.key = key
        self.progress = progress
        self.parts: list[Path] = []
        self.rows = self.kept = 0
        self._pending: dict[Future[None], int] = {}

    def predict(self, chunks: Iterator[pa.Table], model: Path, settings: BatchSettings, key: str | None) -> None:
        first = list(islice(chunks, 2))
        # What fits into one chunk is done before a second process has started.
        workers = share(settings.workers, settings.threads)[0] if len(first) > 1 else 1
        with answering(model, settings, workers, key) as submit:
            for chunk in chain(first, chunks):
                self._add(chunk, submit)
                # Enough for every worker to have one at hand; more would only fill the memory.
                self._settle(most=2 * workers)
            self._settle(most=0)

    def _add(self, chunk: pa.Table, submit: Submit) -> None:
        part = self.folder / f"{len(self.parts):07}-{digest(chunk, self.key)}.parquet"
        self.parts.append(part)
        if part.exists():
            self.kept += chunk.num_rows
            self._count(chunk.num_rows)
        else:
            self._pending[submit(chunk, part)] = chunk.num_rows

    def _settle(self, most: int) -> None:
        while len(self._pending) > most:
            for future in wait(self._pending, return_when=FIRST_COMPLETED).done:
                future.result()
                self._count(self._pending.pop(future))

    def _count(self, rows: int) -> None:
        self.rows += rows
        self.progress(self.rows, f"{self.rows:,} rows")
