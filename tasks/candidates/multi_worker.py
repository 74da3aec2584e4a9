"""One of several machines that train a model together: `python -m tasks.candidates.multi_worker JOB.json`.

Every worker runs the same command with its own TF_CONFIG, over a folder that all can read and
write; docs/scale-out.md has a template for Kubernetes. The chief leaves `candidate.json` beside the
job. A run in which a worker died is started again, on every worker, and goes on from the checkpoint.
"""

import sys
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from tasks.base.errors import InputError, PipelineError
from tasks.base.manifests import Dataset, Record
from tasks.base.settings import Effort, TrainSettings
from tasks.learning.job import Job


class WorkerJob(Record):
    """A `Job` as a file, with the architecture's name."""

    architecture: str
    dataset: Dataset
    folder: Path
    train: TrainSettings
    effort: Effort
    seed: int
    hyper: dict[str, Any] = Field(default={}, description="overrides what the architecture derives")

    def job(self) -> Job:
        return Job(self.dataset, self.folder, self.train, self.effort, self.seed, self.hyper)


def run(path: Path) -> None:
    """Trains the job in `path` as this worker's part of it.

    Raises:
        InputError: the file is not a job.
    """
    try:
        work = WorkerJob.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{path}: no job of a worker: {error}") from error
    # Devices are set up when TensorFlow is first used, so it is imported only now.
    from tasks.candidates.train import train
    from tasks.learning.distribution import place

    candidate = train(work.architecture, work.job())
    if place(work.train)[0] == 0:
        unfinished = path.with_name("candidate.json.part")
        unfinished.write_text(candidate.model_dump_json())
        unfinished.rename(path.with_name("candidate.json"))


def main() -> None:
    try:
        run(Path(sys.argv[1]))
    except PipelineError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
