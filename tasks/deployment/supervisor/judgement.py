"""The rule by which a version on trial is withdrawn or promoted. Pure functions of what was observed.

Both versions answer the same requests, so that the tests are of pairs:

- errors: the sign test (exact McNemar) on requests that one version failed and the other did not;
- latency: the sign test on requests that took the candidate more than `max_slowdown` times the live
  version's time and 20 ms for the way there;
- disagreement: an exact binomial test of the share of texts with another label against `max_disagreement`.

Each is one-sided. A stage is looked at when 25, 50, 100, 200, ... pairs have come; the k-th look
spends alpha / (k (k + 1)), shared evenly by the three tests, so that over a stage of any length a
candidate that is no worse is withdrawn with a chance of at most alpha (Bonferroni over a convergent
series). A stage is passed at `requests` pairs.
"""

from collections.abc import Sequence

from bentos.serving.observations import Pair
from tasks.base.settings import RolloutSettings

FIRST_LOOK = 25
WAY_MS = 20.0

WATCH_LOOKS_SECONDS = 1.0
WATCH_RATE = 0.01
WATCH_ALPHA = 0.001
WATCH_FAILURES = 3


def looks(pairs: int) -> int:
    """How many looks were due by the time of so many pairs."""
    count = 0
    while pairs >= FIRST_LOOK * 2**count:
        count += 1
    return count


def fault(pairs: Sequence[Pair], settings: RolloutSettings) -> str | None:
    """Why the candidate is to be withdrawn; None while nothing speaks against it.

    Every look that was due is taken on the pairs that had come by then, so that the outcome does not
    depend on when this is called.
    """
    for look in range(1, looks(len(pairs)) + 1):
        seen = pairs[: FIRST_LOOK * 2 ** (look - 1)]
        found = _fault(seen, settings, settings.alpha / (look * (look + 1)) / 3)
        if found:
            return f"{found}, after {len(seen)} requests"
    return None


def passed(pairs: Sequence[Pair], settings: RolloutSettings) -> bool:
    """Whether a stage has seen enough."""
    return len(pairs) >= settings.requests


def figures(pairs: Sequence[Pair]) -> dict[str, float]:
    """What is reported: failures of both, median milliseconds of both, share of texts with another label."""
    texts = sum(pair.texts for pair in pairs)
    return {
        "requests": len(pairs),
        "live_failed": sum(not pair.own_ok for pair in pairs),
        "candidate_failed": sum(not pair.other_ok for pair in pairs),
        "live_ms": _median([pair.own_ms for pair in pairs]),
        "candidate_ms": _median([pair.other_ms for pair in pairs]),
        "disagreement": sum(pair.differ for pair in pairs) / texts if texts else 0.0,
    }


def failing(requests: int, failed: int) -> bool:
    """Whether a version that was just swapped in fails more than `WATCH_RATE` of its requests.

    At least `WATCH_FAILURES` failures, and an exact one-sided binomial test at `WATCH_ALPHA`.
    """
    return failed >= WATCH_FAILURES and _at_least(failed, requests, WATCH_RATE) < WATCH_ALPHA


def _fault(pairs: Sequence[Pair], settings: RolloutSettings, level: float) -> str | None:
    worse = sum(pair.own_ok and not pair.other_ok for pair in pairs)
    better = sum(pair.other_ok and not pair.own_ok for pair in pairs)
    if worse and _at_least(worse, worse + better, 0.5) < level:
        return f"it failed {worse} requests that the live version answered (the reverse: {better})"
    timed = [pair for pair in pairs if pair.own_ok and pair.other_ok]
    slow = sum(pair.other_ms > settings.max_slowdown * pair.own_ms + WAY_MS for pair in timed)
    if slow and _at_least(slow, len(timed), 0.5) < level:
        return f"{slow} of {len(timed)} requests took it more than {settings.max_slowdown:g} times as long"
    texts, differ = sum(pair.texts for pair in pairs), sum(pair.differ for pair in pairs)
    if differ and _at_least(differ, texts, settings.max_disagreement) < level:
        return f"{differ} of {texts} texts got another label, more than {settings.max_disagreement:.0%}"
    return None


def _at_least(hits: int, trials: int, rate: float) -> float:
    """Probability of so many hits or more, binomial."""
    from scipy.special import bdtrc  # 35 MB and half a second, which a supervisor without a trial need not pay

    return float(bdtrc(hits - 1, trials, rate))


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    return round(ordered[len(ordered) // 2], 3) if ordered else 0.0
