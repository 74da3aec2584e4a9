"""The stage functions of models: named inputs, the stage's folder, where to report progress; nothing else.

What they are made of takes seconds to import, and is imported when a stage works: a result that is kept costs nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.architectures import Job
from tasks.drift import reference_statistics
from tasks.manifests import Candidate, Converted, Dataset, Evaluation, Optimised, Record, Variant
from tasks.progress import Progress, within
from tasks.settings import Budget, Effort, OptimiseSettings, TrainSettings
from tasks.unlabelled import Unlabelled


class Training(Record):
    """What decides a candidate; see `Job` for the meaning of each."""

    name: str
    dataset: Dataset
    train: TrainSettings
    effort: Effort
    seed: int
    fold_seed: int
    hyper: dict[str, Any]
    trials: int

    def job(self, folder: Path, progress: Progress) -> Job:
        return Job(
            self.dataset, folder, self.train, self.effort, self.seed, self.hyper, self.trials,
            progress=progress, fold_seed=self.fold_seed,
        )  # fmt: skip


def train_candidate(training: Training, folds: int, folder: Path, progress: Progress) -> Candidate:
    """The candidate, judged by so many folds, or by the validation part where there are none."""
    from tasks.train import train

    return train(training.name, training.job(folder, progress), folds)


def train_fold(training: Training, number: int, folder: Path, progress: Progress) -> None:
    """A part of `train_candidate`: one fold."""
    from tasks.train import train_fold

    train_fold(training.name, training.job(folder, progress), number)


def train_trials(training: Training, seat: int, folder: Path, progress: Progress) -> None:
    """A part of `train_candidate`: some trials of its search, beside those in other seats."""
    from tasks.train import train_trials

    train_trials(training.name, training.job(folder, progress), seat)


def join_members(training: Training, chosen: Sequence[Candidate], folder: Path, progress: Progress) -> Candidate:
    """The average of the chosen candidates."""
    from tasks.ensemble import ensemble

    return ensemble(training.job(folder, progress), chosen)


def teach_student(
    training: Training,
    teacher: Candidate,
    unlabelled: Unlabelled | None,
    seconds: float,
    optimised: OptimiseSettings,
    folder: Path,
    progress: Progress,
) -> Candidate:
    """A fast model that has learned the teacher's answers; see `student`."""
    from tasks.distillation import student

    texts = unlabelled.texts() if unlabelled else []
    return student(training.job(folder, progress), teacher, seconds, optimised, texts)


def convert_model(candidate: Candidate, dataset: Dataset, folder: Path) -> Converted:
    """The candidate as ONNX and SavedModel."""
    from tasks.convert import convert

    return convert(candidate, dataset, folder)


def optimise_model(
    converted: Converted,
    dataset: Dataset,
    settings: OptimiseSettings,
    budget: Budget,
    gpu: bool,
    folder: Path,
    progress: Progress,
) -> Optimised:
    """The variants of a converted model, and which of them to serve."""
    from tasks.optimise import optimise

    return optimise(converted.folder, dataset, settings, budget, folder, gpu, progress)


def evaluate_model(
    picked: Variant,
    candidate: Candidate,
    dataset: Dataset,
    judged: tuple[Candidate, Dataset],
    held_out: tuple[str, ...],
    seed: int,
    folder: Path,
    progress: Progress,
) -> Evaluation:
    """The served variant on the test part, and beside it what live traffic is compared with.

    Args:
        judged: the candidate and the data set by which it was chosen.
        held_out: the parts that live traffic may be compared with.
    """
    from tasks.evaluate import evaluate

    made = evaluate(picked, candidate, dataset, seed, folder, judged, within(progress, 0.0, 0.95))
    # It travels in the bento: what live traffic is compared with belongs to the version that answers.
    progress(0.95, "what live traffic is compared with")
    reference_statistics(dataset, made.folder, made.folder, held_out)
    return made
