from typing import Any

import pytest

from tasks.base.errors import InputError
from tasks.base.manifests import Dataset
from tasks.base.settings import Effort, PrivacySettings, TrainSettings
from tasks.candidates.plan import Plan, plan
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


@pytest.mark.parametrize(
    ("task", "metric", "others"),
    [
        ("single", "span_f1", "accuracy, macro_f1"),
        ("single", "micro_f1", "accuracy, macro_f1"),
        ("multi", "span_f1", "accuracy, macro_f1, micro_f1"),
        ("tagging", "micro_f1", "accuracy, macro_f1, span_f1"),
    ],
)
def test_a_metric_of_another_kind_of_task_is_refused_with_the_names_of_its_own(
    toy: Dataset, task: str, metric: str, others: str
) -> None:
    with pytest.raises(InputError, match=f"train.metric: {metric} is no metric .*{task}.*; there are {others}$"):
        made(toy.model_copy(update={"task": task}), "quick", metric=metric)


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
    assert "encoder 5 min" in line


def test_what_thorough_effort_leaves_is_searched_with(toy: Dataset) -> None:
    planned = made(sized(toy, 5_000, 50_000), "thorough")
    assert planned.trials
    assert all(3 <= count <= 20 for count in planned.trials.values())
    assert "linear" not in planned.trials, "it searches by itself"
    assert sum(planned.seconds[name] * planned.times(name) for name in planned.names) <= planned.budget
    name, count = next(iter(planned.trials.items()))
    assert f"{name} " in planned.line()
    assert f"in {count} trials" in planned.line()
    assert made(sized(toy, 5_000, 50_000), "standard").trials == {}


def test_trials_set_by_hand_are_made_of_every_candidate_that_has_something_to_search(toy: Dataset) -> None:
    data = sized(toy, 1_500, 15_000, folds=5)
    planned = made(data, "quick", trials=4, candidates=("linear", "bag"))
    assert (planned.trials, planned.folds) == ({"bag": 4}, 0)
    assert made(data, "thorough", trials=0).trials == {}
    with pytest.raises(InputError, match="a search is judged by the validation set"):
        made(data, "quick", trials=4, folds=5)


def test_what_was_chosen_is_trained_again_where_there_is_time(toy: Dataset) -> None:
    planned = made(sized(toy, 10_000, 150_000), "thorough")
    assert planned.affords(["encoder"])
    assert planned.affords(["linear", "encoder"])
    full = planned.model_copy(update={"budget": sum(planned.seconds.values())})
    assert full.affords(["linear"])
    assert not full.affords(["encoder"])


def test_more_seeds_are_tried_as_far_as_there_is_time_and_time_for_a_refit_is_kept_free(toy: Dataset) -> None:
    planned = made(sized(toy, 10_000, 150_000), "thorough", trials=0)
    spent = sum(planned.seconds[name] * planned.times(name) for name in planned.names)
    both = planned.seconds["linear"] + planned.seconds["bag"]
    assert "ensemble" in planned.derived
    kept = sum(sorted(planned.seconds.values())[-3:])

    def seeds(left: float) -> int:
        return planned.model_copy(update={"budget": spent + kept + left}).seeds(["linear", "bag"])

    assert [seeds(left) for left in (-kept, 0.9 * both, 1.1 * both, 2.1 * both, 9 * both)] == [1, 1, 2, 3, 3]


def test_time_to_train_the_dearest_again_is_worth_more_than_another_structure(toy: Dataset) -> None:
    planned = made(sized(toy, 6_000, 90_000), "standard")
    assert {"linear", "bag", "encoder", "stack"} <= set(planned.names)
    assert planned.affords(["encoder"])
    assert "lstm" in planned.skipped


def test_the_dearest_is_tried_in_half_its_time_and_then_not_again(toy: Dataset) -> None:
    planned = made(sized(toy, 10_000, 150_000), "standard", speed=0.6)
    assert planned.names[-1] == "encoder"
    assert planned.allowed["encoder"] < planned.seconds["encoder"]
    assert not planned.affords(["encoder"])


def test_an_unknown_name_is_refused_with_the_known_ones(toy: Dataset) -> None:
    with pytest.raises(InputError, match="no such model structure 'bert'; there are bag, cnn"):
        made(toy, "quick", candidates=("bert",))


def test_data_that_no_structure_can_learn_is_refused_with_the_reasons(toy: Dataset) -> None:
    with pytest.raises(InputError, match="it gives one answer a text"):
        made(toy.model_copy(update={"task": "tagging"}), "quick", candidates=("linear",))


def test_a_privacy_budget_is_planned_for_one_private_training(toy: Dataset) -> None:
    budget = PrivacySettings(epsilon=8.0)
    data = sized(toy, 1_000, 10_000, folds=5)
    planned = made(data, "standard", privacy=budget)
    assert (planned.names, planned.folds, planned.derived) == (["private_encoder"], 0, [])
    assert planned.skipped["linear"] == planned.skipped["stack"] == "its training is not private"
    assert planned.skipped["private_linear"] == "the privacy budget is spent on one model"
    assert made(data, "quick", privacy=budget).names == ["private_linear"]
    slow = made(data, "standard", speed=0.001, privacy=budget)
    assert slow.names == ["private_linear"]
    assert "are too few" in slow.skipped["private_encoder"]


def test_a_structure_that_is_not_private_is_refused_under_a_privacy_budget(toy: Dataset) -> None:
    with pytest.raises(InputError, match="linear: its training is not private"):
        made(toy, "quick", candidates=("linear",), privacy=PrivacySettings(epsilon=8.0))
