"""Hyper-parameters of one structure by search: trials judged by held-out rows, pruned, kept over a kill (Optuna)."""

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock, JournalStorage
from optuna.study import Study
from optuna.trial import Trial, TrialState

from tasks.base.manifests import Candidate
from tasks.base.progress import within
from tasks.learning.job import Architecture, Job, Range
from tasks.models.architectures import architectures

FOLDER = "search"
CANDIDATE = "candidate.json"
_SEAT, _DERIVED = "seat", "derived values are enqueued"
UNPRUNED = 3
"""Trials that run to their end whatever they show, for others to be compared with."""


def search(job: Job, structure: Architecture, trials: int) -> Candidate:
    """The model with the best score on the validation part, of `trials` trainings with values of `structure.space`.

    The first trial has the values derived from data and effort, so that a search never ends with worse ones. The
    others are suggested by a tree-structured Parzen estimator (Bergstra et al. 2011); a training that is behind the
    median of the others after the same epoch is broken off. A journal in the job's folder keeps what was tried: a
    search that was killed goes on, with the training that was under way from its checkpoint, and to the same end
    where nobody else takes part.
    """
    study = take_part(job, structure, trials)
    _keep_best(study, job.folder / FOLDER)
    best = Candidate.model_validate_json((job.folder / FOLDER / str(study.best_trial.number) / CANDIDATE).read_text())
    return best.model_copy(update={"settings": best.settings | {"trials": trials}})


def take_part(job: Job, structure: Architecture, trials: int, seat: int | None = None) -> Study:
    """Runs trials of a search until all `trials` are begun, beside other processes with the same job, if any.

    Args:
        seat: tells those processes apart. Each goes on with the trial that was killed in its own seat; without a
            seat, with anybody's.

    Returns:
        What has been tried.
    """
    study = _study(job, structure)
    # What the user has set by hand is not searched.
    by_hand = job.train.hyper.get(structure.name, {})
    free = {
        name: values
        for name, values in structure.space.items()
        if name not in by_hand and getattr(job.train, name, None) is None
    }
    space = {name: _distribution(values) for name, values in free.items()}
    derived = job.hyper_of(structure)
    while trial := _next(job, study, space, {name: derived[name] for name in space}, trials, seat):
        _run(job, structure, study, trial, trials)
        _keep_best(study, job.folder / FOLDER)
    return study


def _study(job: Job, structure: Architecture) -> Study:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = job.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    return optuna.create_study(
        storage=JournalStorage(_journal(folder / "journal.log")),
        pruner=MedianPruner(n_startup_trials=UNPRUNED),
        study_name=structure.name,
        direction="maximize",
        load_if_exists=True,
    )


def _journal(file: Path) -> JournalFileBackend:
    """The journal, without the part of a last line that a full disk or a power cut has left: Optuna would write on
    behind it, and not read the file again."""
    lock = JournalFileSymlinkLock(str(file))
    journal = JournalFileBackend(str(file), lock)
    lock.acquire()
    try:
        os.truncate(file, file.read_bytes().rfind(b"\n") + 1)
    finally:
        lock.release()
    return journal


def found(candidate: Candidate) -> dict[str, Any]:
    """The values that a search has found, to train the candidate again with; empty when there was none."""
    space = architectures()[candidate.name].space if "trials" in candidate.settings else {}
    return {name: candidate.settings[name] for name in space}


def _next(
    job: Job,
    study: Study,
    space: dict[str, BaseDistribution],
    derived: dict[str, Any],
    trials: int,
    seat: int | None,
) -> Trial | None:
    """The trial that a kill interrupted, or the next one; None when all are begun."""
    if killed := _under_way(study, trials, seat):
        return killed
    number = sum(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False))
    if number >= trials:
        return None
    if _DERIVED not in study.user_attrs:
        study.enqueue_trial(derived)
        study.set_user_attr(_DERIVED, True)
    # A sampler for each trial: what it suggests then depends on the trials before, not on when it was started.
    own = job.seed + number + 1000 * (seat or 0)
    study.sampler = TPESampler(seed=own, constant_liar=seat is not None)
    trial = study.ask(space)
    if trial.number >= trials:
        # Others have begun the last ones in the meantime.
        study.tell(trial, state=TrialState.FAIL)
        return None
    if seat is not None:
        trial.set_user_attr(_SEAT, seat)
    return trial


def _run(job: Job, structure: Architecture, study: Study, trial: Trial, trials: int) -> None:
    place = job.folder / FOLDER / str(trial.number)
    place.mkdir(exist_ok=True)
    work = replace(
        job,
        folder=place,
        hyper=job.hyper | trial.params,
        epoch_ended=_pruning(trial),
        progress=within(
            job.progress,
            trial.number / trials,
            (trial.number + 1) / trials,
            f"trial {trial.number + 1} of {trials}, ",
        ),
    )
    try:
        made = structure.fit(work)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED, skip_if_finished=True)
    else:
        (place / CANDIDATE).write_text(made.model_dump_json())
        study.tell(trial, made.score, skip_if_finished=True)


def _keep_best(study: Study, folder: Path) -> None:
    # Listed before the best is asked for: one of these that is not the best then never becomes it.
    ended = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    best = study.best_trial.number
    for trial in ended:
        if trial.number != best:
            shutil.rmtree(folder / str(trial.number), ignore_errors=True)


def _under_way(study: Study, trials: int, seat: int | None) -> Trial | None:
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.number < trials and (seat is None or trial.user_attrs.get(_SEAT) == seat):
            return Trial(study, trial._trial_id)
    return None


def _pruning(trial: Trial) -> Callable[[int, float], None]:
    """Tells the trial each epoch's score and breaks it off when it is behind."""

    def ended(epoch: int, score: float) -> None:
        trial.report(score, epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    return ended


def _distribution(values: Range) -> BaseDistribution:
    if isinstance(values.low, int) and isinstance(values.high, int):
        return IntDistribution(values.low, values.high, log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)
