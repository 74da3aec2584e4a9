"""The part of a retrain that trains: what was planned, what is made of it, and the chosen one once more."""

from dataclasses import dataclass
from pathlib import Path

from flows.config import RetrainConfig
from flows.stages import Report, Stages
from tasks.architectures import Job
from tasks.manifests import Candidate, Dataset, Selection
from tasks.plan import ENSEMBLE, STUDENT, Plan
from tasks.refit import refit_dataset
from tasks.select import judged_on
from tasks.settings import Effort

SLOWER = 5.0
"""A student is worth its time when the best candidate needs so many times the fastest one's."""

STUDENT_SHARE = 0.1
"""Of the effort's time, for the teacher's answers and again for the student."""


@dataclass
class Candidates:
    """Trains candidates on one data set, each as a stage of its own."""

    stages: Stages
    config: RetrainConfig
    effort: Effort
    planned: Plan

    def train(self, dataset: Dataset) -> tuple[list[Candidate], dict[str, str]]:
        """The trained candidates, and what was not tried with the reason."""
        candidates = [self._train(name, dataset, self.planned.folds) for name in self.planned.names]
        skipped = dict(self.planned.skipped)
        if ENSEMBLE in self.planned.derived:
            from tasks.ensemble import members

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
        """The chosen model trained again with most of the validation rows, and the data set divided so."""
        chosen = selection.chosen
        if chosen.name == STUDENT:
            reason = f"{selection.reason} A student is not trained again: its teacher has not seen those rows either."
            return selection.model_copy(update={"reason": reason}), dataset
        wider = self.stages.run(
            "refit split",
            lambda folder, progress: refit_dataset(dataset, folder),
            (dataset,),
            lambda made: f"{made.rows['train']:,} to train, {made.rows['validation']:,} kept back to calibrate by",
        )
        names = chosen.settings["members"] if chosen.name == ENSEMBLE else [chosen.name]
        made = [self._train(name, wider, 0) for name in names]
        again = self._join(made, wider) if chosen.name == ENSEMBLE else made[0]
        rows = wider.rows["train"] - dataset.rows["train"]
        reason = f"{selection.reason} It was trained again with {rows:,} of the validation rows."
        return selection.model_copy(update={"chosen": again, "reason": reason}), wider

    def _train(self, name: str, dataset: Dataset, folds: int) -> Candidate:
        from tasks.train import train

        config, effort = self.config, self.effort
        hyper = {"seconds": self.planned.allowed[name]}

        def work(folder: Path, progress: Report) -> Candidate:
            job = Job(dataset, folder, config.train, effort, config.seed, hyper, progress=progress)
            return train(name, job, folds)

        key = (name, dataset, config.train, effort, config.seed, hyper, folds)
        return self.stages.run(f"train {name}", work, key, _summary)

    def _join(self, chosen: list[Candidate], dataset: Dataset) -> Candidate:
        from tasks.ensemble import ensemble

        config, effort = self.config, self.effort

        def work(folder: Path, progress: Report) -> Candidate:
            return ensemble(Job(dataset, folder, config.train, effort, config.seed), chosen)

        return self.stages.run(f"train {ENSEMBLE}", work, (dataset, *chosen, config.train, config.seed), _summary)

    def _teach(self, teacher: Candidate, dataset: Dataset) -> Candidate:
        from tasks.distillation import student

        config, effort = self.config, self.effort
        seconds = STUDENT_SHARE * self.planned.budget

        def work(folder: Path, progress: Report) -> Candidate:
            hyper = {"seconds": seconds}
            return student(
                Job(dataset, folder, config.train, effort, config.seed, hyper, progress=progress), teacher, seconds
            )

        unlabelled = Path(config.train.unlabelled) if config.train.unlabelled else None
        key = (dataset, teacher, config.train, effort, config.seed, seconds)
        if unlabelled is not None and unlabelled.exists():
            key = (*key, unlabelled)
        return self.stages.run(f"train {STUDENT}", work, key, _summary)


def _summary(made: Candidate) -> str:
    members = f", of {', '.join(made.settings['members'])}" if "members" in made.settings else ""
    size = f"{made.size_bytes / 1e6:.1f} MB, {made.latency_ms:.2f} ms a text"
    return f"{made.score:.1%} {judged_on(made)}, {size}{members}"
