from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.base.manifests import Candidate, Dataset
from tasks.base.settings import Effort, TrainSettings
from tasks.candidates.search import FOLDER, search, take_part
from tasks.learning.job import Job, Range
from tests.tasks.judged import candidate, dataset, rows


class Parabola:
    """A structure that is best at a rate of 0.03 and whose score rises by epochs."""

    name = "parabola"
    efforts: tuple[Effort, ...] = ()
    space: Mapping[str, Range] = {"rate": Range(1e-3, 1.0, log=True), "units": Range(1, 8)}

    def __init__(self, killed_at: int | None = None) -> None:
        self.killed_at = killed_at
        self.tried: list[dict[str, Any]] = []
        self.epochs: list[int] = []

    def skip(self, dataset: Dataset, train: TrainSettings) -> str | None:
        return None

    def hyper(self, dataset: Dataset, effort: Effort) -> dict[str, Any]:
        return {"rate": 0.5, "units": 2, "seconds": 1.0}

    def fit(self, job: Job) -> Candidate:
        if len(self.tried) == self.killed_at:
            raise KeyboardInterrupt
        self.tried.append(job.hyper)
        self.epochs.append(0)
        score = 0.0
        for epoch in range(4):
            score = (1 - abs(np.log(job.hyper_of(self)["rate"] / 0.03)) / 10) * (1 - 0.1**epoch / 2)
            self.epochs[-1] += 1
            job.epoch_ended(epoch, score)
        (job.folder / "weights").write_text(str(job.hyper_of(self)["rate"]))
        return candidate(job.folder, self.name, score=score, settings=job.hyper)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    data = dataset(tmp_path / "data", {"train": rows(10, 1), "validation": rows(10, 2), "test": rows(10, 3)})
    return Job(data, tmp_path / "job", TrainSettings(), "thorough", 7)


def test_the_derived_values_are_tried_first_and_better_ones_are_found(job: Job) -> None:
    structure = Parabola()
    found = search(job, structure, 15)
    assert structure.tried[0] == {"rate": 0.5, "units": 2}
    assert len(structure.tried) == 15
    assert 0.01 < found.settings["rate"] < 0.1
    assert isinstance(found.settings["units"], int)
    assert found.settings["trials"] == 15


def test_a_search_of_one_trial_ends_with_the_derived_values(job: Job) -> None:
    assert search(job, Parabola(), 1).settings == {"rate": 0.5, "units": 2, "trials": 1}


def test_the_best_model_alone_is_kept(job: Job) -> None:
    found = search(job, Parabola(), 6)
    assert (found.folder / "weights").read_text() == str(found.settings["rate"])
    assert [entry for entry in found.folder.parent.iterdir() if entry.is_dir()] == [found.folder]


def test_what_the_user_has_set_is_not_searched(job: Job) -> None:
    class Rated(Parabola):
        space: Mapping[str, Range] = {"learning_rate": Range(1e-3, 1.0), "rate": Range(1e-3, 1.0)}

    structure = Rated()
    search(replace(job, train=TrainSettings(learning_rate=5.0)), structure, 2)
    assert [sorted(tried) for tried in structure.tried] == [["rate"], ["rate"]]


def test_a_hyper_parameter_that_the_user_has_set_is_not_searched(job: Job) -> None:
    structure = Parabola()
    search(replace(job, train=TrainSettings(hyper={"parabola": {"rate": 0.03}})), structure, 2)
    assert [sorted(tried) for tried in structure.tried] == [["units"], ["units"]]


def test_what_is_behind_is_broken_off(job: Job) -> None:
    structure = Parabola()
    search(job, structure, 15)
    assert structure.epochs[:3] == [4, 4, 4]
    assert min(structure.epochs) == 1


def test_a_killed_search_goes_on_to_the_end_that_it_would_have_had(job: Job, tmp_path: Path) -> None:
    whole = Parabola()
    wanted = search(Job(job.dataset, tmp_path / "whole", job.train, job.effort, job.seed), whole, 8)
    first, second = Parabola(killed_at=5), Parabola()
    with pytest.raises(KeyboardInterrupt):
        search(job, first, 8)
    assert (job.folder / FOLDER / "5").is_dir(), "where the training under way has its checkpoint"
    assert search(job, second, 8).settings == wanted.settings
    assert first.tried + second.tried == whole.tried


def test_a_search_whose_journal_was_cut_short_goes_on(job: Job) -> None:
    with pytest.raises(KeyboardInterrupt):
        search(job, Parabola(killed_at=4), 8)
    with (job.folder / FOLDER / "journal.log").open("ab") as journal:
        journal.write(b'{"op_code":4,"worker_id":"a')
    assert search(job, Parabola(), 8).settings["trials"] == 8
    assert search(job, Parabola(), 8).settings["trials"] == 8


def test_progress_tells_the_trial_and_never_falls(job: Job) -> None:
    told: list[tuple[float, str]] = []

    class Telling(Parabola):
        def fit(self, job: Job) -> Candidate:
            job.progress(0.5, "epoch 2")
            return super().fit(job)

    search(Job(job.dataset, job.folder, job.train, "thorough", 7, progress=lambda *one: told.append(one)), Telling(), 4)
    assert [text for _, text in told] == [f"trial {number} of 4, epoch 2" for number in range(1, 5)]
    assert [share for share, _ in told] == sorted(share for share, _ in told)
    assert told[-1][0] == 7 / 8


def test_several_take_part_and_begin_no_trial_too_many(job: Job) -> None:
    structures = [Parabola() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda seat: take_part(job, structures[seat], 10, seat), range(3)))
    tried = [one for structure in structures for one in structure.tried]
    assert len(tried) == 10
    assert {"rate": 0.5, "units": 2} in tried
    last = Parabola()
    found = search(job, last, 10)
    assert last.tried == []
    assert found.settings["rate"] == min((one["rate"] for one in tried), key=lambda rate: abs(np.log(rate / 0.03)))
    assert [entry for entry in found.folder.parent.iterdir() if entry.is_dir()] == [found.folder]


def test_the_derived_values_are_tried_whoever_comes_first(job: Job) -> None:
    first = Parabola()
    with pytest.raises(KeyboardInterrupt):
        take_part(job, Parabola(killed_at=0), 4, seat=1)
    take_part(job, first, 4, seat=0)
    last = Parabola()
    search(job, last, 4)
    assert {"rate": 0.5, "units": 2} in [*first.tried, *last.tried]
    assert len(first.tried) + len(last.tried) == 4


def test_seats_that_see_the_same_trials_try_different_values(job: Job) -> None:
    for seat in range(3):
        with pytest.raises(KeyboardInterrupt):
            take_part(job, Parabola(killed_at=0), 3, seat)
    structure = Parabola()
    search(job, structure, 3)
    assert len({one["rate"] for one in structure.tried}) == 3


def test_a_kill_before_the_first_trial_is_asked_for_leaves_a_search_that_goes_on(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("optuna.study.Study.ask", killed)
        with pytest.raises(KeyboardInterrupt):
            search(job, Parabola(), 1)
    assert search(job, Parabola(), 1).settings == {"rate": 0.5, "units": 2, "trials": 1}


def test_a_killed_trial_is_taken_up_in_its_own_seat_or_by_who_comes_last(job: Job) -> None:
    with pytest.raises(KeyboardInterrupt):
        take_part(job, Parabola(killed_at=1), 3, seat=0)
    other = Parabola()
    take_part(job, other, 3, seat=1)
    assert len(other.tried) == 1, "of three trials two are begun in seat 0"
    last = Parabola()
    assert search(job, last, 3).settings["trials"] == 3
    assert len(last.tried) == 1
