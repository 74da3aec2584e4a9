"""The stage functions of candidates: named inputs, the stage's folder, where to report progress; nothing else.

What they are made of takes seconds to import, and is imported when a stage works: a result that is kept costs nothing.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.base.manifests import Candidate, Dataset, Record
from tasks.base.progress import Progress
from tasks.base.settings import Effort, OptimiseSettings, TrainSettings
from tasks.data.unlabelled import Unlabelled
from tasks.learning.job import Job


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
    from tasks.candidates.train import train

    return train(training.name, training.job(folder, progress), folds)


def train_fold(training: Training, number: int, folder: Path, progress: Progress) -> None:
    """A part of `train_candidate`: one fold."""
    from tasks.candidates.train import train_fold

    train_fold(training.name, training.job(folder, progress), number)


def train_trials(training: Training, seat: int, folder: Path, progress: Progress) -> None:
    """A part of `train_candidate`: some trials of its search, beside those in other seats."""
    from tasks.candidates.train import train_trials

    train_trials(training.name, training.job(folder, progress), seat)


def join_members(training: Training, chosen: Sequence[Candidate], folder: Path, progress: Progress) -> Candidate:
    """The average of the chosen candidates."""
    from tasks.candidates.ensemble import ensemble

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
    from tasks.candidates.distillation import student

    texts = unlabelled.texts() if unlabelled else []
    return student(training.job(folder, progress), teacher, seconds, optimised, texts)
