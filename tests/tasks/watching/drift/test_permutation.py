"""The permutation tests keep their stated rate, over all statistics together, and see what is there."""

import numpy as np

from tasks.watching.drift.permutation import Statistic, corrected_p_values
from tasks.watching.drift.statistics import categories, tail, waves


def family(random: np.random.Generator, reference: int, live: int, shift: float = 0.0) -> dict[str, Statistic]:
    rows = reference + live
    values = random.standard_normal(rows)
    # A tenth of the live rows comes from elsewhere.
    strange = (np.arange(rows) >= reference) & (random.random(rows) < 0.1)
    values[strange] += shift
    other = values + random.standard_normal(rows)
    return {
        "tail": tail(values),
        "correlated": tail(other),
        "waves": waves(values),
        "classes": categories(random.integers(0, 20, rows)),
        "sparse": Statistic(random.standard_normal((rows, 30)), "both", power=4),
    }


def test_any_of_all_alarms_is_as_rare_as_stated() -> None:
    reference, live = 60, 40
    random = np.random.default_rng(1)
    smallest = []
    for round in range(100):
        found = corrected_p_values(family(random, reference, live), reference, 0.05, round)
        smallest.append(min(corrected for _, corrected in found.values()))
    alarms = (np.array(smallest) <= 0.05).mean()
    # Binomial: 0.05 of 100 with three standard errors.
    assert alarms <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 100)
    assert 0.3 < np.mean(smallest) < 0.7


def test_a_tenth_of_strange_rows_is_seen_at_a_small_rate() -> None:
    random = np.random.default_rng(2)
    found = corrected_p_values(family(random, 1000, 500, shift=4.0), 1000, 0.001, 1)
    assert found["tail"][1] <= 0.001
    assert found["classes"][1] > 0.01


def test_a_corrected_value_is_never_below_its_own() -> None:
    random = np.random.default_rng(3)
    for round in range(5):
        found = corrected_p_values(family(random, 100, 100, shift=1.0), 100, 0.01, round)
        assert all(0 < p <= corrected <= 1 for p, corrected in found.values())


def test_what_cannot_vary_never_alarms() -> None:
    constant = {"constant": Statistic(np.ones((50, 1)), "more"), "other": tail(np.arange(50.0))}
    assert corrected_p_values(constant, 25, 0.05, 1)["constant"] == (1.0, 1.0)


def test_rows_in_which_nothing_differs_show_nothing() -> None:
    assert corrected_p_values({}, 100, 0.001, 13) == {}
