"""A table of texts, or many files of them, with a served version's answers: `python -m flows.batch_predict`."""

from pathlib import Path
from typing import Any, Literal

from prefect import flow
from prefect.artifacts import create_table_artifact
from pydantic import Field

from bentos.serving.cpus import allowed_cpus
from flows import command_line
from flows.console import current
from flows.predict_files import predict_files
from flows.running import recorded
from flows.task_runners import RunnerName, task_runner
from tasks.base.settings import BatchSettings, KeySource, SourceSettings
from tasks.base.state import state_folder
from tasks.batch import outputs_of
from tasks.data.sources import check_query, shown
from tasks.deployment.served_model import ServedModel, served_model


class BatchPredictConfig(BatchSettings):
    """Predicts every row of a table, or of each file of a folder or glob; rows and order are kept."""

    input: str
    """A file, folder, glob, `-`, fsspec or SQLAlchemy URL."""
    output: Path
    """A file (.parquet, .csv or .jsonl, each also .sealed) for all rows, or a folder for one file of answers a file
    of texts."""
    bento: str | None = None
    """The version to ask, such as text_classifier:20260101120000-1a2b3c4d; the live one when not given."""
    model: Path | None = None
    """A model folder instead of a bento."""
    text_column: str | None = None
    """Found by its usual names when not given."""
    extra_columns: tuple[str, ...] = ()
    """Further columns to copy to the output, such as an id."""
    query: str | None = None
    """The SQL query when the input is a database."""
    data_key: KeySource | None = None
    """Source of the key that opens sealed inputs; what MODEL_SERVICE_DATA_KEY names when not given."""
    format: Literal["parquet", "csv", "jsonl"] = "parquet"
    """Of the files in an output folder."""
    runner: RunnerName = "local"
    """Where the files of a folder are predicted: one after the other here, or by the processes of a Dask or
    Ray cluster."""
    runner_address: str | None = Field(default=None, min_length=1)
    """Of a Dask scheduler or a Ray cluster that runs already; a local one is started when not given."""

    def source(self, name: str) -> SourceSettings:
        return SourceSettings(
            source=name,
            query=self.query,
            data_key=self.data_key,
            text_column=self.text_column,
            extra_columns=self.extra_columns,
        )

    def batch(self) -> BatchSettings:
        return BatchSettings.model_validate(self.model_dump(include=set(BatchSettings.model_fields)))


@flow(name="batch-predict", validate_parameters=True)
def batch_predict_flow(config: BatchPredictConfig) -> dict[str, Any]:
    """Predicts the input and returns what came of it: files, rows, errors, and rows kept from a killed run.

    Raises:
        InputError: the input, the output, the version or a label cannot be used.
    """
    with recorded():
        return _predicted(config)


def _predicted(config: BatchPredictConfig) -> dict[str, Any]:
    console = current()
    check_query(config.query, config.input)
    model = ServedModel(config.model) if config.model else served_model(state_folder(), config.bento)
    pairs = outputs_of(config.input, config.output, config.format, sealed=config.seal is not None)
    console.line(f"{shown(config.input)}: {len(pairs):,} {'files' if len(pairs) > 1 else 'input'}")
    one_by_one = config.runner == "local"
    # In a cluster the files are the work that is shared out, so each is predicted by one process alone.
    batch = config.batch() if one_by_one else config.batch().model_copy(update={"workers": 1})
    processes = config.workers or allowed_cpus()
    runner = task_runner(config.runner, 1 if one_by_one else processes, config.runner_address)
    results = predict_files.with_options(task_runner=runner)(
        [(config.source(name), output) for name, output in pairs], model, batch
    )
    rows = [
        {"output": str(made.output), "rows": made.rows, "errors": made.errors, "kept": made.kept} for made in results
    ]
    create_table_artifact(table=rows, key="batch-predict")
    totals = {name: sum(row[name] for row in rows) for name in ("rows", "errors", "kept")}
    for note in dict.fromkeys(note for made in results for note in made.notes):
        console.line(f"  note: {note}")
    kept = f"; {totals['kept']:,} were done by an earlier run" if totals["kept"] else ""
    console.line(f"{totals['rows']:,} rows by {results[0].model}, {totals['errors']:,} marked with an error{kept}")
    console.line(f"output: {config.output}")
    return {"files": len(rows), **totals, "model": results[0].model}


if __name__ == "__main__":
    log = state_folder() / "logs" / "batch-predict.log"
    command_line.run_flow(BatchPredictConfig, "python -m flows.batch_predict", log, batch_predict_flow)
