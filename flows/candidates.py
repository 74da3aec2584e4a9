"""The part of a retrain that trains: what was planned, what is made of it, and the chosen one once more."""

from dataclasses import dataclass
from pathlib import Path

from flows.config import RetrainConfig
from flows.stages import Report, Stages
from tasks.architectures import Job
from tasks.manifests import Candidate, Dataset, Selection
from tasks.plan import ENSEMBLE, Plan
from tasks.refit import refit_dataset
from tasks.select import judged_on
from tasks.settings import Effort


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
        return candidates, skipped

    def refit(self, selection: Selection, dataset: Dataset) -> tuple[Selection, Dataset]:
        """The chosen model trained again with most of the validation rows, and the data set divided so."""
        chosen = selection.chosen
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


def _summary(made: Candidate) -> str:
    members = f" of {', '.join(made.settings['members'])}" if "members" in made.settings else ""
    size = f"{made.size_bytes / 1e6:.1f} MB, {made.latency_ms:.2f} ms a text"
    return f"{made.score:.1%} {judged_on(made)}, {size}{members}"
