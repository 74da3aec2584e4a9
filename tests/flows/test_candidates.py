"""Candidates and their folds, one after the other and shared out over processes."""

import io
from pathlib import Path

import pytest
from optuna import load_study
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import TrialState
from prefect import flow

from flows.candidates import Candidates
from flows.config import RetrainConfig
from flows.console import Console
from flows.stages import Stages
from flows.task_runners import RunnerName
from tasks.base.manifests import Candidate, Dataset
from tasks.base.settings import TrainSettings
from tasks.candidates.plan import Plan
from tests.tasks.toy import make_dataset

pytestmark = [pytest.mark.usefixtures("prefect_server"), pytest.mark.slow]
FOLDS = 2
NAMES = ["linear", "bag"]
ROUNDING = 0.01
"""Another number of threads adds up in another order, which may turn a row or two of the 300 over.

After two epochs, when little is learned yet, it was six once.
"""


def trained(
    folder: Path,
    dataset: Dataset,
    runner: RunnerName,
    seeds: int | None = None,
    epochs: int = 2,
    trials: dict[str, int] | None = None,
) -> tuple[list[Candidate], str]:
    said = io.StringIO()
    limit = dict.fromkeys(NAMES, 60.0)
    folds = 0 if trials else FOLDS
    planned = Plan(names=NAMES, seconds=limit, allowed=limit, folds=folds, trials=trials or {}, budget=120.0)
    config = RetrainConfig(runner=runner, train=TrainSettings(epochs=epochs, seeds=seeds))

    @flow
    def train() -> list[Candidate]:
        candidates = Candidates(Stages(folder, Console(said)), config, "quick", planned)
        return candidates.train(dataset)[0]

    return train(), said.getvalue()


def test_side_by_side_they_are_what_they_are_one_by_one(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data").model_copy(update={"folds": FOLDS})
    alone, _ = trained(tmp_path / "alone", dataset, "local", epochs=8)
    together, said = trained(tmp_path / "together", dataset, "dask", epochs=8)
    assert [(one.name, one.folds) for one in together] == [(name, FOLDS) for name in NAMES]
    for one, other in zip(alone, together, strict=True):
        assert other.score == pytest.approx(one.score, abs=ROUNDING)
        assert other.metrics == pytest.approx(one.metrics, abs=ROUNDING)
    assert sorted(line.split()[1] for line in said.splitlines()) == sorted(NAMES)
    again, said = trained(tmp_path / "together", dataset, "local", epochs=8)
    assert [one.content for one in again] == [one.content for one in together]
    assert said.count("kept") == len(NAMES)


def test_only_who_cannot_be_told_from_the_best_is_trained_with_more_seeds(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data").model_copy(update={"folds": FOLDS})
    told_apart, said = trained(tmp_path / "short", dataset, "local", seeds=2)
    assert [one.scores for one in told_apart] == [[], []]
    assert "seed" not in said
    alike, said = trained(tmp_path / "long", dataset, "local", seeds=2, epochs=8)
    assert [one.name for one in alike] == NAMES
    assert [line.split(",")[1].split()[:2] for line in said.splitlines() if "seed" in line] == [["seed", "14"]] * 2
    assert all(len(one.scores) == 2 and one.score == pytest.approx(sum(one.scores) / 2) for one in alike)


def test_trials_of_a_search_are_shared_out_too(tmp_path: Path) -> None:
    made, _ = trained(tmp_path / "run", make_dataset(tmp_path / "data"), "dask", trials={"bag": 3})
    assert [one.settings.get("trials") for one in made] == [None, 3]
    storage = JournalStorage(JournalFileBackend(str(made[1].folder.parent / "journal.log")))
    tried = load_study(study_name="bag", storage=storage).get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED))
    assert len(tried) == 3
    assert all("seat" in one.user_attrs for one in tried)
    assert made[1].score == max(one.value for one in tried if one.value is not None)
