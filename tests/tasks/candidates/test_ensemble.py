from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bentos.text_classifier.model import TextModel
from tasks.base.manifests import Candidate, Dataset
from tasks.base.settings import Budget, TrainSettings
from tasks.candidates.ensemble import ensemble, members
from tasks.candidates.train import train
from tasks.conversion.convert import convert
from tasks.learning.examples import rows_of
from tasks.learning.job import Job
from tests.tasks.judged import LABELS, candidate, dataset, rows
from tests.tasks.models.pretrained.reference import make_folder
from tests.tasks.toy import make_dataset

TRAIN = TrainSettings(epochs=1)


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return dataset(tmp_path / "data", {"train": rows(10, 1), "validation": rows(100, 2), "test": rows(10, 3)})


def wrong_at(folder: Path, data: Dataset, name: str, mistakes: range, sure: float = 3.0) -> Candidate:
    targets = rows_of(data, "validation")[1]
    logits = 4.0 * np.eye(len(LABELS), dtype=np.float32)[targets]
    logits[mistakes] = sure * np.eye(len(LABELS), dtype=np.float32)[(targets[mistakes] + 1) % len(LABELS)]
    (folder / name).mkdir()
    np.save(folder / name / "validation.npy", logits)
    return candidate(folder / name, name, score=1 - len(mistakes) / 100, latency_ms=1.0)


def test_candidates_that_err_on_different_rows_are_averaged(tmp_path: Path, data: Dataset) -> None:
    made = [wrong_at(tmp_path, data, name, rows) for name, rows in (("a", range(10)), ("b", range(10, 22)))]
    assert [one.name for one in members(made, data, TRAIN, Budget())] == ["a", "b"]


def test_a_candidate_that_adds_nothing_is_left_out(tmp_path: Path, data: Dataset) -> None:
    made = [wrong_at(tmp_path, data, name, rows) for name, rows in (("a", range(10)), ("b", range(15)))]
    assert [one.name for one in members(made, data, TRAIN, Budget())] == ["a"]


def test_members_answer_within_the_budget_together(tmp_path: Path, data: Dataset) -> None:
    made = [wrong_at(tmp_path, data, name, rows) for name, rows in (("a", range(10)), ("b", range(10, 22)))]
    assert len(members(made, data, TRAIN, Budget(max_latency_ms=1.5))) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("task", "names"), [("single", ("linear", "lstm", "stack")), ("multi", ("linear", "bag"))])
def test_the_ensemble_is_one_graph_that_answers_the_mean_of_its_members(
    tmp_path: Path, task: str, names: tuple[str, ...]
) -> None:
    data = make_dataset(tmp_path / "data", task)
    settings = TRAIN.model_copy(update={"pretrained": str(make_folder(tmp_path / "weights"))})
    job = Job(data, tmp_path, settings, "quick", 13)
    made = [train(name, replace(job, folder=tmp_path / name)) for name in names]
    together = ensemble(replace(job, folder=tmp_path / "ensemble"), made)
    converted = convert(together, data, tmp_path / "converted")
    texts = rows_of(data, "validation")[0]
    served = TextModel.load(converted.folder).logits(texts)
    assert np.allclose(served, np.load(together.folder / "validation.npy"), atol=1e-3)
    assert together.size_bytes > max(one.size_bytes for one in made)
    assert together.settings == {"members": list(names)}
    assert together.latency_ms
