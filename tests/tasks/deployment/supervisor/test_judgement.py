import numpy as np
import pytest

from bentos.serving.observations import Pair
from tasks.base.settings import RolloutSettings
from tasks.deployment.supervisor.judgement import failing, fault, figures, looks, passed

SETTINGS = RolloutSettings(requests=400)


def drawn(
    seed: int,
    count: int = 400,
    *,
    own_fails: float = 0.02,
    other_fails: float = 0.02,
    slower: float = 1.0,
    differ: float = 0.1,
) -> list[Pair]:
    """Pairs of a live version and a candidate with these rates; latencies are log-normal."""
    rng = np.random.default_rng(seed)
    own_ms = rng.lognormal(3, 0.5, count)
    other_ms = slower * rng.lognormal(3, 0.5, count)
    return [
        Pair(bool(a), bool(b), float(x), float(y), 1, int(d))
        for a, b, x, y, d in zip(
            rng.random(count) >= own_fails,
            rng.random(count) >= other_fails,
            own_ms,
            other_ms,
            rng.random(count) < differ,
            strict=True,
        )
    ]


def test_a_candidate_that_is_no_worse_is_withdrawn_at_most_at_the_stated_rate() -> None:
    # At the very edge of each limit: as many failures, the disagreement that is just allowed, and a median
    # of twice the time. Each figure alone may cost a third of alpha.
    edge = [fault(drawn(seed, differ=0.5, slower=2.0), SETTINGS) for seed in range(300)]
    assert sum(found is not None for found in edge) <= 300 * SETTINGS.alpha + 3 * (300 * 0.05 * 0.95) ** 0.5


@pytest.mark.parametrize(
    ("worse", "reason"),
    [
        (("other_fails", 0.15), "it failed"),
        (("slower", 5.0), "more than 2 times as long"),
        (("differ", 0.7), "got another label, more than 50%"),
    ],
)
def test_a_worse_candidate_is_found_within_a_stage(worse: tuple[str, float], reason: str) -> None:
    found = [fault(drawn(seed, 400, **{worse[0]: worse[1]}), SETTINGS) for seed in range(30)]
    assert all(one and reason in one for one in found)


def test_a_candidate_that_always_fails_is_found_at_the_first_look() -> None:
    assert "after 25 requests" in (fault(drawn(1, other_fails=1.0), SETTINGS) or "")


def test_a_better_candidate_is_never_withdrawn() -> None:
    assert not any(fault(drawn(seed, own_fails=0.5, slower=0.5, differ=0.0), SETTINGS) for seed in range(30))


def test_the_outcome_does_not_depend_on_when_one_looks() -> None:
    pairs = drawn(5, other_fails=0.2)
    found = fault(pairs, SETTINGS)
    assert found
    assert fault(pairs[:399], SETTINGS) == found


def test_nothing_is_judged_before_the_first_look() -> None:
    assert looks(24) == 0
    assert looks(25) == 1
    assert looks(400) == 5
    assert fault(drawn(1, 24, other_fails=1.0), SETTINGS) is None


def test_a_stage_needs_its_requests() -> None:
    assert not passed(drawn(1, 399), SETTINGS)
    assert passed(drawn(1, 400), SETTINGS)


def test_figures_are_those_of_the_pairs() -> None:
    pairs = [Pair(True, True, 1.0, 4.0, 2, 1), Pair(True, False, 2.0, 5.0, 0, 0), Pair(True, True, 3.0, 6.0, 2, 0)]
    assert figures(pairs) == {
        "requests": 3,
        "live_failed": 0,
        "candidate_failed": 1,
        "live_ms": 2.0,
        "candidate_ms": 5.0,
        "disagreement": 0.25,
    }
    assert figures([])["requests"] == 0


@pytest.mark.parametrize(
    ("requests", "failed", "bad"), [(2, 2, False), (3, 3, True), (10_000, 100, False), (10_000, 150, True)]
)
def test_a_version_in_its_first_minutes_fails_when_it_fails_too_often(requests: int, failed: int, bad: bool) -> None:
    assert failing(requests, failed) == bad
