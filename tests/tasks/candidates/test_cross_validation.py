from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.base.manifests import Candidate, Dataset
from tasks.base.settings import TrainSettings
from tasks.candidates.cross_validation import HELD_OUT, cross_validate, fold_dataset, fold_rows, judged, pooled_targets
from tasks.data.rows import Rows
from tasks.learning.examples import rows_of
from tasks.learning.job import Job
from tests.tasks.judged import LABELS, candidate, dataset, rows

FOLDS = 4


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    made = dataset(tmp_path / "data", {"train": rows(80, 1), "validation": rows(20, 2), "test": rows(10, 3)})
    return made.model_copy(update={"folds": FOLDS})


def job(data: Dataset, folder: Path) -> Job:
    folder.mkdir(exist_ok=True)
    return Job(data, folder, TrainSettings(), "quick", seed=13)


class Fit:
    """Knows the rows it is trained on, and answers the first label for all others; may be killed in a fold."""

    def __init__(self, killed_in: int | None = None) -> None:
        self.seen: list[set[str]] = []
        self.killed_in = killed_in

    def __call__(self, job: Job) -> Candidate:
        if len(self.seen) == self.killed_in:
            raise KeyboardInterrupt
        known = dict(zip(*rows_of(job.dataset, "train"), strict=True))
        self.seen.append(set(known))
        texts = rows_of(job.dataset, "validation")[0]
        answers = [known.get(text, 0) for text in texts]
        np.save(job.folder / "validation.npy", np.eye(len(LABELS), dtype=np.float32)[answers])
        return candidate(job.folder)


def test_every_row_is_held_out_in_one_fold_and_trained_on_in_the_others(tmp_path: Path, data: Dataset) -> None:
    folds = [fold_dataset(data, number, tmp_path / str(number), seed=13) for number in range(FOLDS)]
    everything = Counter(Rows(data.train).texts() + Rows(data.validation).texts())
    held = [Counter(Rows(fold.validation).texts()) for fold in folds]
    assert len(folds) == FOLDS
    assert sum(held, Counter()) == everything
    for fold, one in zip(folds, held, strict=True):
        assert Counter(Rows(fold.train).texts()) + one == everything
        assert fold.rows == {"train": 100 - one.total(), "validation": one.total(), "test": 10}
        assert (fold.test, fold.folds) == (data.test, 0)
    assert len({fold.content for fold in folds}) == FOLDS


def test_folds_hold_each_class_in_proportion(data: Dataset) -> None:
    targets = pooled_targets(data)
    share = np.bincount(targets) / len(targets)
    for held in fold_rows(data, seed=13):
        assert np.abs(np.bincount(targets[held], minlength=len(LABELS)) / len(held) - share).max() < 0.06


def test_rows_of_one_group_are_never_parted(tmp_path: Path, data: Dataset) -> None:
    table = pq.read_table(data.train)
    groups = pa.array([f"g{row // 5}" for row in range(len(table))])
    table = table.set_column(table.column_names.index("group"), "group", groups)
    pq.write_table(table, data.train)
    names = groups.to_pylist()
    for held in fold_rows(data, seed=13):
        inside = {names[row] for row in held if row < len(names)}
        outside = {names[row] for row in set(range(len(names))) - set(held.tolist())}
        assert not inside & outside


def test_several_labels_a_text_can_be_divided(tmp_path: Path) -> None:
    texts, names = rows(30, 1)
    labels: list[Any] = [[name] if row % 3 else LABELS[:2] for row, name in enumerate(names)]
    data = dataset(tmp_path, dict.fromkeys(("train", "validation", "test"), (texts, labels)), task="multi")
    held = fold_rows(data.model_copy(update={"folds": 3}), seed=1)
    assert sorted(np.concatenate(held).tolist()) == list(range(60))


def test_the_score_is_that_of_models_which_did_not_see_the_row(tmp_path: Path, data: Dataset) -> None:
    """The fit remembers its rows, so that only a row it has seen could be right by more than the first label."""
    work = job(data, tmp_path / "job")
    made = judged(Fit()(work), cross_validate(work, Fit(), FOLDS), work, FOLDS)
    targets = pooled_targets(data)
    assert made.score == pytest.approx((targets == 0).mean())
    assert made.folds == FOLDS
    assert made.error == pytest.approx(np.sqrt(made.score * (1 - made.score) / 100))
    assert np.load(made.folder / HELD_OUT).shape == (100, len(LABELS))
    assert not (work.folder / "folds").exists()


def test_some_of_the_folds_judge_some_of_the_rows(tmp_path: Path, data: Dataset) -> None:
    work = job(data, tmp_path / "job")
    fit = Fit()
    logits = cross_validate(work, fit, 2)
    assert len(fit.seen) == 2
    known = np.flatnonzero(~np.isnan(logits[:, 0]))
    assert known.tolist() == sorted(np.concatenate(fold_rows(data, 13)[:2]).tolist())


def test_a_killed_cross_validation_goes_on_from_its_last_finished_fold(tmp_path: Path, data: Dataset) -> None:
    work = job(data, tmp_path / "job")
    with pytest.raises(KeyboardInterrupt):
        cross_validate(work, Fit(killed_in=3), FOLDS)
    again = Fit()
    logits = cross_validate(work, again, FOLDS)
    assert len(again.seen) == 1
    assert not np.isnan(logits).any()
    assert np.array_equal(logits, cross_validate(job(data, tmp_path / "other"), Fit(), FOLDS))
