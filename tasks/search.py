"""Hyper-parameters of one structure by search: trials judged by held-out rows, pruned, kept over a kill (Optuna)."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.study import Study
from optuna.trial import Trial, TrialState

from tasks.architectures import Architecture, Job, Range, architectures
from tasks.manifests import Candidate
from tasks.progress import within

FOLDER = "search"
CANDIDATE = "candidate.json"
UNPRUNED = 3
"""Trials that run to their end whatever they show, for others to be compared with."""


def search(job: Job, structure: Architecture, trials: int) -> Candidate:
    """The model with the best score on the validation part, of `trials` trainings with values of `structure.space`.

    The first trial has the values derived from data and effort, so that a search never ends with worse ones. The
    others are suggested by a tree-structured Parzen estimator (Bergstra et al. 2011); a training that is behind the
    median of the others after the same epoch is broken off. A journal in the job's folder keeps what was tried: a
    search that was killed goes on, with the training that was under way from its checkpoint, to the same end.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder = job.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(folder / "journal.log"))),
        pruner=MedianPruner(n_startup_trials=UNPRUNED),
        study_name=structure.name,
        direction="maximize",
        load_if_exists=True,
    )
    # What the user has set by hand is not searched.
    by_hand = job.train.hyper.get(structure.name, {})
    free = {
        name: values
        for name, values in structure.space.items()
        if name not in by_hand and getattr(job.train, name, None) is None
    }
    space = {name: _distribution(values) for name, values in free.items()}
    derived = job.hyper_of(structure)
    while _finished(study) < trials:
        _run(job, structure, study, space, {name: derived[name] for name in space}, trials)
        _keep_best(study, folder)
    best = Candidate.model_validate_json((folder / str(study.best_trial.number) / CANDIDATE).read_text())
    return best.model_copy(update={"settings": best.settings | {"trials": trials}})


def found(candidate: Candidate) -> dict[str, Any]:
    """The values that a search has found, to train the candidate again with; empty when there was none."""
    space = architectures()[candidate.name].space if "trials" in candidate.settings else {}
    return {name: candidate.settings[name] for name in space}


def _run(
    job: Job,
    structure: Architecture,
    study: Study,
    space: dict[str, BaseDistribution],
    derived: dict[str, Any],
    trials: int,
) -> None:
    """The trial that a kill interrupted, or the next one."""
    trial = _under_way(study)
    if trial is None:
        number = len(study.get_trials(deepcopy=False))
        if number == 0:
            study.enqueue_trial(derived)
        # A sampler for each trial: what it suggests then depends on the trials before, not on when it was started.
        study.sampler = TPESampler(seed=job.seed + number)
        trial = study.ask(space)
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
        study.tell(trial, state=TrialState.PRUNED)
    else:
        (place / CANDIDATE).write_text(made.model_dump_json())
        study.tell(trial, made.score)


def _keep_best(study: Study, folder: Path) -> None:
    for place in folder.iterdir():
        if place.is_dir() and place.name != str(study.best_trial.number):
            shutil.rmtree(place)


def _finished(study: Study) -> int:
    return len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)))


def _under_way(study: Study) -> Trial | None:
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
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
