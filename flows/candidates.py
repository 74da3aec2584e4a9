"""The part of a retrain that trains: what was planned, what is made of it, and the chosen one once more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from prefect.task_runners import TaskRunner

from bentos.serving.cpus import allowed_cpus
from flows.config import RetrainConfig
from flows.stages import Part, Stage, Stages
from flows.task_runners import task_runner
from tasks.base.machine import has_gpu
from tasks.base.manifests import Candidate, Dataset, Selection
from tasks.base.settings import Effort
from tasks.candidates.plan import ENSEMBLE, STUDENT, Plan
from tasks.candidates.refit import refit_dataset
from tasks.candidates.search import found
from tasks.candidates.select import judged_on, over_seeds, undecided
from tasks.candidates.stages import Training, join_members, teach_student, train_candidate, train_fold, train_trials
from tasks.data.personal_data import redactor
from tasks.data.sources import shown
from tasks.data.unlabelled import Unlabelled, read_unlabelled

SLOWER = 5.0
"""A student is worth its time when the best candidate needs so many times the fastest one's."""

STUDENT_SHARE = 0.1
"""Of the effort's time, for the teacher's answers and again for each structure that is taught."""

ASKED_SHARE = 1 / 3
"""The same for a student that was asked for: taught on few texts, or for a short time, it is worth nothing."""

SEATS = 4
"""Trials of a search at a time where there are machines for them; of more, each would know too little of the others."""

CPUS = 2
"""Of a training; from more a small model gains little, while another training has full use of them."""


def teaching_seconds(planned: Plan, asked: bool) -> float:
    """For the teacher's answers, and again for each structure that is taught.

    Args:
        asked: whether the user wants a student, by its name or by giving texts for it.
    """
    return (ASKED_SHARE if asked else STUDENT_SHARE) * planned.budget


@dataclass
class Candidates:
    """Trains candidates on one data set, each as a stage of its own, side by side where there are cores for it."""

    stages: Stages
    config: RetrainConfig
    effort: Effort
    planned: Plan

    def train(self, dataset: Dataset) -> tuple[list[Candidate], dict[str, str]]:
        """The trained candidates, and what was not tried with the reason."""
        candidates = self._with_more_seeds(self._train(self.planned.names, dataset, self.planned.folds), dataset)
        skipped = dict(self.planned.skipped)
        if ENSEMBLE in self.planned.derived:
            from tasks.candidates.ensemble import members

            chosen = members(candidates, dataset, self.config.train, self.config)
            if len(chosen) > 1:
                candidates.append(self._join(chosen, dataset))
            else:
                skipped[ENSEMBLE] = "no average of candidates within the budget is better than the best of them alone"
        if STUDENT in self.planned.derived:
            teacher = max(candidates, key=lambda one: one.score)
            fastest = min(one.latency_ms or 0.0 for one in candidates)
            if (teacher.latency_ms or 0.0) >= SLOWER * fastest or STUDENT in self.config.train.candidates:
                candidates.append(self._teach(teacher, dataset))
            else:
                skipped[STUDENT] = f"the best candidate, {teacher.name}, is hardly slower than a student would be"
        return candidates, skipped

    def refit(self, selection: Selection, dataset: Dataset) -> tuple[Selection, Dataset]:
        """The chosen model trained again with most of the validation rows, and the data set that it was trained on."""
        chosen = selection.chosen
        if chosen.name == STUDENT:
            reason = f"{selection.reason} It is not trained again with validation rows: its teacher lacks them."
            return selection.model_copy(update={"reason": reason}), dataset
        wider = self.stages.run(
            "refit split",
            refit_dataset,
            lambda made: f"{made.rows['train']:,} training and {made.rows['validation']:,} validation rows",
            dataset=dataset,
        )
        names = chosen.settings["members"] if chosen.name == ENSEMBLE else [chosen.name]
        before = {one.name: one for one in selection.candidates}
        made = self._train(names, wider, 0, before)
        again = self._join(made, wider) if chosen.name == ENSEMBLE else made[0]
        rows = wider.rows["train"] - dataset.rows["train"]
        reason = f"{selection.reason} It was then trained again with {rows:,} of the validation rows."
        return selection.model_copy(update={"chosen": again, "reason": reason}), wider

    def _with_more_seeds(self, candidates: list[Candidate], dataset: Dataset) -> list[Candidate]:
        """The candidates; for those that cannot be told from the best it is the mean over several seeds that counts."""
        wanted = self.config.train.seeds
        if wanted is None and self.effort == "quick":
            return candidates
        names = undecided(candidates, dataset, self.config.train, self.config)
        if not names:
            return candidates
        tried = {one.name: [one] for one in candidates}
        for number in range(1, wanted or self.planned.seeds(names)):
            before = {name: tried[name][0] for name in names}
            for one in self._train(names, dataset, self.planned.folds, before, self.config.seed + number):
                tried[one.name].append(one)
        return [over_seeds(same) if len(same) > 1 else same[0] for same in tried.values()]

    def _train(
        self,
        names: Sequence[str],
        dataset: Dataset,
        folds: int,
        before: Mapping[str, Candidate] | None = None,
        seed: int | None = None,
    ) -> list[Candidate]:
        """`before` holds the candidates when they are trained again: with what a search has found, once.

        `seed` is that of the configuration when not given.
        """
        what = "train {}" if before is None else "refit {}" if seed is None else f"train {{}}, seed {seed}"
        seed = self.config.seed if seed is None else seed
        stages = [
            self._stage(what.format(name), name, dataset, folds, seed, before[name] if before else None)
            for name in names
        ]
        pieces = len(stages) + sum(len(stage.parts) for stage in stages)
        return self.stages.run_together(stages, self._runner() if pieces > 1 else None)

    def _stage(
        self, title: str, name: str, dataset: Dataset, folds: int, seed: int, before: Candidate | None
    ) -> Stage[Candidate]:
        hyper: dict[str, Any] = {"seconds": self.planned.allowed[name]}
        trials = 0 if before else self.planned.trials.get(name, 0)
        if before:
            hyper |= found(before)
        parts = [Part(train_fold, {"number": number}) for number in range(folds)]
        if trials > 1:
            parts = [Part(train_trials, {"seat": seat}) for seat in range(min(trials, SEATS))]
        training = self._training(name, dataset, seed, hyper, trials)
        inputs = {"training": training, "folds": folds}
        return Stage(title, train_candidate, inputs, partial(_summary, dataset=dataset), parts=tuple(parts))

    def _training(
        self, name: str, dataset: Dataset, seed: int, hyper: dict[str, Any] | None = None, trials: int = 0
    ) -> Training:
        return Training(
            name=name,
            dataset=dataset,
            train=self.config.train,
            effort=self.effort,
            seed=seed,
            fold_seed=self.config.seed,
            hyper=hyper or {},
            trials=trials,
        )

    def _runner(self) -> TaskRunner[Any] | None:
        """Where several trainings run side by side; None where one after the other is right."""
        config = self.config
        at_a_time = max(allowed_cpus() // CPUS, 1)
        name = config.runner or ("dask" if at_a_time > 1 and not has_gpu() else "local")
        return None if name == "local" else task_runner(name, at_a_time, config.runner_address, threads=CPUS)

    def _join(self, chosen: list[Candidate], dataset: Dataset) -> Candidate:
        training = self._training(ENSEMBLE, dataset, self.config.seed)
        return self.stages.run(
            f"train {ENSEMBLE}", join_members, partial(_summary, dataset=dataset), training=training, chosen=chosen
        )

    def _teach(self, teacher: Candidate, dataset: Dataset) -> Candidate:
        config = self.config
        asked = STUDENT in config.train.candidates or config.train.unlabelled is not None
        seconds = teaching_seconds(self.planned, asked)
        return self.stages.run(
            f"train {STUDENT}",
            teach_student,
            partial(_summary, dataset=dataset),
            training=self._training(STUDENT, dataset, config.seed, {"seconds": seconds}),
            teacher=teacher,
            unlabelled=self._unlabelled(config.train.unlabelled) if config.train.unlabelled else None,
            seconds=seconds,
            optimised=config.optimise,
        )

    def _unlabelled(self, source: str) -> Unlabelled:
        data = self.config.data
        return self.stages.act(
            "ingest unlabelled",
            read_unlabelled,
            lambda made: f"{made.rows:,} texts of {shown(source)}",
            source=source,
            personal=redactor(data.personal_data, self.stages.folder.parent, data.person_names),
            data_key=self.config.data_key,
        )


def _summary(made: Candidate, dataset: Dataset) -> str:
    members = f", of {', '.join(made.settings['members'])}" if "members" in made.settings else ""
    size = f"{made.size_bytes / 1e6:.1f} MB, {made.latency_ms:.2f} ms a text"
    return f"{made.score:.1%} {judged_on(made, dataset)}, {size}{members}"
