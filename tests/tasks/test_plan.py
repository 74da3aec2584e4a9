from typing import Any

import pytest

from tasks.errors import InputError
from tasks.manifests import Dataset
from tasks.plan import Plan, plan
from tasks.settings import Effort, TrainSettings
from tests.tasks.toy import make_dataset


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("data"))


def sized(data: Dataset, rows: int, words: int, folds: int = 0) -> Dataset:
    profile = data.profile.model_copy(update={"total_tokens": words})
    return data.model_copy(
        update={"rows": data.rows | {"train": rows, "validation": rows // 9}, "profile": profile, "folds": folds}
    )


def made(data: Dataset, effort: Effort, speed: float = 1.0, **train: Any) -> Plan:
    return plan(data, TrainSettings(**train), effort, speed)


def test_more_effort_tries_more_structures(toy: Dataset) -> None:
    data = sized(toy, 10_000, 150_000)
    quick, standard, thorough = (made(data, effort) for effort in ("quick", "standard", "thorough"))
    assert set(quick.names) < set(standard.names) < set(thorough.names)
    assert (quick.budget, standard.budget, thorough.budget) == (60, 600, 3600)
    assert quick.skipped["encoder"] == "not tried with effort quick"


def test_what_is_planned_fits_the_time_of_the_effort(toy: Dataset) -> None:
    for rows, words in ((300, 3_000), (10_000, 150_000), (200_000, 3_000_000)):
        for effort in ("quick", "standard", "thorough"):
            planned = made(sized(toy, rows, words), effort)
            last = planned.names[-1]
            whole = sum(planned.seconds[name] for name in planned.names if name != last)
            assert whole + min(planned.seconds[last], planned.allowed[last]) <= planned.budget


def test_the_time_grows_with_the_words(toy: Dataset) -> None:
    assert made(sized(toy, 100_000, 1_500_000), "quick").budget == 600


def test_on_a_slow_machine_what_does_not_fit_is_left_out_with_the_reason(toy: Dataset) -> None:
    data = sized(toy, 10_000, 150_000)
    slow = made(data, "standard", speed=0.1)
    assert "encoder" not in slow.names
    assert slow.names[0] == "linear"
    assert "min of the effort's 10 min are left" in slow.skipped["encoder"] or "s of the" in slow.skipped["encoder"]


def test_a_named_candidate_is_tried_whatever_it_takes(toy: Dataset) -> None:
    planned = made(sized(toy, 100_000, 150_000), "quick", speed=0.01, candidates=("transformer", "linear"))
    assert planned.names == ["transformer", "linear"]
    assert planned.skipped["bag"] == "not among train.candidates"


def test_folds_are_used_as_far_as_the_time_allows_for_all_candidates_alike(toy: Dataset) -> None:
    data = sized(toy, 1_500, 15_000, folds=5)
    assert made(data, "thorough", candidates=("linear", "bag")).folds == 5
    one = made(data, "quick", candidates=("linear", "bag"))
    assert one.folds in (0, 2, 3, 4, 5)
    assert sum(one.seconds.values()) * (1 + one.folds) <= one.budget
    assert made(data, "quick", speed=0.01, candidates=("linear",)).folds == 0


def test_a_number_of_folds_set_by_hand_is_kept(toy: Dataset) -> None:
    data = sized(toy, 10_000, 150_000, folds=7)
    assert made(data, "quick", speed=0.01, folds=7).folds == 7


def test_the_estimate_names_every_candidate(toy: Dataset) -> None:
    line = made(sized(toy, 10_000, 150_000), "standard").line()
    assert line.startswith("about ")
    assert "min to train: linear " in line
    assert "encoder 4 min" in line or "encoder 5 min" in line


def test_an_unknown_name_is_refused_with_the_known_ones(toy: Dataset) -> None:
    with pytest.raises(InputError, match="no such model structure 'bert'; there are bag, cnn"):
        made(toy, "quick", candidates=("bert",))


def test_data_that_no_structure_can_learn_is_refused_with_the_reasons(toy: Dataset) -> None:
    with pytest.raises(InputError, match="it gives one answer a text"):
        made(toy.model_copy(update={"task": "tagging"}), "quick", candidates=("linear",))
