"""One Prefect task a file to predict. A module of its own, so that Dask's processes can import the task."""

from pathlib import Path

from prefect import flow, task

from flows.console import current
from flows.running import recorded
from tasks.base.settings import BatchSettings, SourceSettings
from tasks.batch import BatchResult, batch_predict
from tasks.data.sources.length import about_rows
from tasks.deployment.served_model import ServedModel


def predict(source: SourceSettings, output: Path, model: ServedModel, batch: BatchSettings) -> BatchResult:
    """One input; a worker that dies costs only this, and the next attempt goes on from its finished chunks."""
    console = current()
    total = about_rows(source)

    def show(rows: int, text: str) -> None:
        console.progress(output.name[:12], min(rows / total, 1.0) if total else 0.0, text)

    try:
        return batch_predict(source, output, model.folder, batch, show, model.key)
    finally:
        console.finish_progress()


# Not as a decorator: Dask sends the function by its name, under which it must be found itself.
predict_file = task(name="predict-file", task_run_name="predict {output.name}", retries=1)(predict)


@flow(name="predict-files")
def predict_files(
    pairs: list[tuple[SourceSettings, Path]], model: ServedModel, batch: BatchSettings
) -> list[BatchResult]:
    with recorded():
        futures = [predict_file.submit(source, output, model, batch) for source, output in pairs]
        return [future.result() for future in futures]
