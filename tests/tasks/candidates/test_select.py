from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.base.errors import InputError
from tasks.base.manifests import Candidate, Dataset, Selection
from tasks.base.settings import Budget, TrainSettings
from tasks.candidates.cross_validation import HELD_OUT, pooled_targets
from tasks.candidates.select import over_seeds, pareto, select, undecided
from tasks.learning.examples import rows_of
from tests.tasks.judged import LABELS, candidate, dataset, rows


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return dataset(tmp_path / "data", {"train": rows(10, 1), "validation": rows(1000, 2), "test": rows(10, 3)})


def trained(folder: Path, data: Dataset, name: str, mistakes: range, latency_ms: float, **changes: Any) -> Candidate:
    """A candidate that gets the validation rows in `mistakes` wrong."""
    targets = rows_of(data, "validation")[1].copy()
    targets[mistakes] = (targets[mistakes] + 1) % len(LABELS)
    (folder / name).mkdir()
    np.save(folder / name / "validation.npy", np.eye(len(LABELS), dtype=np.float32)[targets])
    score = 1 - len(mistakes) / len(targets)
    return candidate(folder / name, name, score=score, latency_ms=latency_ms, **changes)


def choose(candidates: list[Candidate], data: Dataset, budget: Budget | None = None) -> Selection:
    return select(candidates, {"rnn": "too slow"}, data, TrainSettings(), budget or Budget())


def test_the_best_is_chosen_when_it_is_better_beyond_chance(tmp_path: Path, data: Dataset) -> None:
    best = trained(tmp_path, data, "encoder", range(40), 10.0)
    fast = trained(tmp_path, data, "bag", range(100), 0.1)
    selection = choose([fast, best], data)
    assert selection.chosen == best
    assert "encoder was chosen because its accuracy on 1,000 validation rows, 96.0%, is the best;" in selection.reason
    assert "bag has 90.0%" in selection.reason
    assert selection.candidates == [fast, best]
    assert selection.skipped == {"rnn": "too slow"}


def test_the_faster_of_two_equals_is_chosen_and_the_reason_says_by_how_much(tmp_path: Path, data: Dataset) -> None:
    best = trained(tmp_path, data, "encoder", range(80), 10.0)
    fast = trained(tmp_path, data, "bag", range(40, 122), 0.1)
    selection = choose([best, fast], data)
    assert selection.chosen == fast
    assert "100.0 times as fast" in selection.reason
    assert "of the best, 92.0%." in selection.reason


def test_a_small_loss_on_the_same_rows_is_no_equality(tmp_path: Path, data: Dataset) -> None:
    """Each score's own error would call 92.0 % and 91.2 % equal; row by row the second only loses."""
    best = trained(tmp_path, data, "encoder", range(80), 10.0)
    fast = trained(tmp_path, data, "bag", range(88), 0.1)
    assert choose([best, fast], data).chosen == best


def test_a_little_speed_is_not_worth_a_little_accuracy(tmp_path: Path, data: Dataset) -> None:
    best = trained(tmp_path, data, "cnn", range(80), 1.0)
    other = trained(tmp_path, data, "bag", range(40, 122), 0.4)
    selection = choose([best, other], data)
    assert selection.chosen == best
    assert "would not answer much faster" in selection.reason


def test_the_budget_rules_out_the_best_and_says_what_more_would_buy(tmp_path: Path, data: Dataset) -> None:
    best = trained(tmp_path, data, "encoder", range(40), 10.0, size_bytes=90_000_000)
    fast = trained(tmp_path, data, "bag", range(100), 0.1)
    selection = choose([best, fast], data, Budget(max_latency_ms=5))
    assert selection.chosen == fast
    assert "encoder with 96.0% is over the budget (10.00 ms a text, 5 ms allowed)" in selection.reason
    assert choose([best, fast], data, Budget(max_size_mb=50)).chosen == fast


def test_the_only_candidate_is_told_from_the_only_one_within_the_budget(tmp_path: Path, data: Dataset) -> None:
    slow = trained(tmp_path, data, "encoder", range(100), 10.0)
    fast = trained(tmp_path, data, "bag", range(40), 0.1)
    alone = "because it is the only candidate {} (accuracy on 1,000 validation rows: 96.0%)."
    assert choose([fast], data).reason == f"bag was chosen {alone.format('that was trained')}"
    assert (
        choose([slow, fast], data, Budget(max_latency_ms=5)).reason
        == f"bag was chosen {alone.format('within the budget')}"
    )


def test_when_nothing_keeps_the_budget_the_nearest_goes_on_to_the_gate(tmp_path: Path, data: Dataset) -> None:
    slow = trained(tmp_path, data, "encoder", range(40), 10.0)
    fast = trained(tmp_path, data, "bag", range(100), 0.5)
    selection = choose([slow, fast], data, Budget(max_latency_ms=0.1))
    assert selection.chosen == fast
    assert "which no candidate keeps to: 0.50 ms a text, 0.1 ms allowed" in selection.reason


def test_a_metric_of_the_users_is_the_one_compared(tmp_path: Path, data: Dataset) -> None:
    best = trained(tmp_path, data, "encoder", range(40), 10.0)
    fast = trained(tmp_path, data, "bag", range(100), 0.1)
    selection = select([best, fast], {}, data, TrainSettings(metric="macro_f1"), Budget())
    assert "its macro F1 on 1,000 validation rows" in selection.reason


def test_candidates_without_validation_logits_are_compared_by_their_own_errors(tmp_path: Path, data: Dataset) -> None:
    best = candidate(tmp_path / "a", "a", score=0.92, error=0.01, latency_ms=5.0)
    near = candidate(tmp_path / "b", "b", score=0.91, error=0.01, latency_ms=1.0)
    assert choose([best, near], data).chosen == near
    far = near.model_copy(update={"score": 0.90})
    assert choose([best, far], data).chosen == best


def test_a_candidate_whose_speed_is_unknown_is_not_called_faster(tmp_path: Path, data: Dataset) -> None:
    best = candidate(tmp_path / "a", "a", score=0.92, error=0.01, latency_ms=5.0)
    near = candidate(tmp_path / "b", "b", score=0.919, error=0.01, latency_ms=None)
    assert choose([best, near], data).chosen == best


def test_no_candidate_is_an_error_with_the_reasons(data: Dataset) -> None:
    with pytest.raises(InputError, match="rnn: too slow"):
        choose([], data)


def test_pareto_front_holds_what_no_other_beats_in_everything(tmp_path: Path) -> None:
    table = pareto(
        [
            candidate(tmp_path, "encoder", score=0.95, latency_ms=10.0, size_bytes=90),
            candidate(tmp_path, "bag", score=0.90, latency_ms=0.1, size_bytes=5),
            candidate(tmp_path, "cnn", score=0.89, latency_ms=1.0, size_bytes=6),
        ]
    )
    assert [(row["name"], row["on_front"]) for row in table] == [("encoder", True), ("bag", True), ("cnn", False)]


def test_candidates_judged_by_different_rows_are_compared_by_the_validation_part(tmp_path: Path, data: Dataset) -> None:
    folded = trained(tmp_path, data, "bag", range(100), 10.0).model_copy(update={"folds": 5, "score": 0.99})
    other = trained(tmp_path, data, "encoder", range(40), 10.0)
    selection = choose([folded, other], data)
    assert selection.chosen.name == "encoder"
    assert {one.name: one.score for one in selection.candidates} == pytest.approx({"bag": 0.9, "encoder": 0.96})


def test_folds_are_compared_on_the_rows_that_were_held_out(tmp_path: Path, data: Dataset) -> None:
    """96.2 % and 95.2 % of 10 + 1,000 rows: the rows are the same, and the worse only loses."""
    targets = pooled_targets(data)
    made = []
    for name, wrong, latency in (("encoder", 38, 10.0), ("bag", 48, 0.1)):
        one = trained(tmp_path, data, name, range(0), latency)
        answers = targets.copy()
        answers[:wrong] = (answers[:wrong] + 1) % len(LABELS)
        np.save(one.folder / HELD_OUT, np.eye(len(LABELS), dtype=np.float32)[answers])
        made.append(one.model_copy(update={"folds": 5, "score": 1 - wrong / len(targets)}))
    selection = choose(made, data)
    assert selection.chosen.name == "encoder"
    assert "in 5-fold cross-validation, 96.2%" in selection.reason


def test_undecided_are_the_best_within_the_budget_and_those_that_chance_may_have_put_behind_it(
    tmp_path: Path, data: Dataset
) -> None:
    best = trained(tmp_path, data, "encoder", range(80), 10.0)
    equal = trained(tmp_path, data, "bag", range(40, 122), 0.1)
    worse = trained(tmp_path, data, "cnn", range(200), 0.2)
    everyone = [worse, equal, best]
    assert undecided(everyone, data, TrainSettings(), Budget()) == ["encoder", "bag"]
    assert undecided(everyone, data, TrainSettings(), Budget(max_latency_ms=1.0)) == []
    assert undecided(everyone, data, TrainSettings(), Budget(max_latency_ms=0.01)) == []


def test_of_several_seeds_the_mean_is_compared_and_the_first_model_served(tmp_path: Path, data: Dataset) -> None:
    lucky = trained(tmp_path, data, "encoder", range(80), 10.0)
    again = trained(tmp_path, data, "encoder of another seed", range(110), 10.0)
    steady = trained(tmp_path, data, "cnn", range(10, 94), 9.0)
    assert choose([lucky, steady], data).chosen == lucky
    mean = over_seeds([lucky, again])
    assert (mean.folder, mean.score, mean.scores) == (lucky.folder, pytest.approx(0.905), [lucky.score, again.score])
    selection = choose([mean, steady], data)
    assert selection.chosen == steady
