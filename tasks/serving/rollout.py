"""Shadow and canary: a version that passed its smoke test is tried on the live traffic before it takes over."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bentos.text_classifier.relay import Rule, read_observed
from tasks.errors import DeploymentError
from tasks.serving import judgement, lifecycle
from tasks.settings import RolloutSettings


class Withdrawn(DeploymentError):
    """A version on trial was found worse than the live one, or could not be judged."""


_LOOK_SECONDS = 0.5


def roll_out(
    state: Path, tag: str, port: int, alive: Callable[[], bool], settings: RolloutSettings
) -> list[dict[str, float | str]]:
    """Puts the version that listens on `port` through its stages; the figures of each.

    Raises:
        Withdrawn: the rule of `judgement` speaks against the version, it died, or too few
            requests came; by then no request goes to it any more.
    """
    stages = []
    try:
        for answers, share in _stages(settings):
            seen = _stage(state, tag, port, answers, share, alive, settings)
            stages.append({"stage": f"{'canary' if answers == 'other' else 'shadow'} {share:.0%}", **seen})
    finally:
        lifecycle.relay(state, None)
    return stages


def _stages(settings: RolloutSettings) -> list[tuple[str, float]]:
    return {
        "swap": [],
        "shadow": [("own", settings.shadow_share)],
        "canary": [("other", share) for share in settings.shares],
    }[settings.mode]


def _stage(
    state: Path,
    tag: str,
    port: int,
    answers: str,
    share: float,
    alive: Callable[[], bool],
    settings: RolloutSettings,
) -> dict[str, float]:
    until = time.monotonic() + settings.minutes * 60
    with tempfile.TemporaryDirectory(prefix="rollout-", dir=state / "serving") as observations:
        rule = Rule(port=port, share=share, answers=answers, observations=observations)  # type: ignore[arg-type]
        lifecycle.relay(state, rule)
        while True:
            time.sleep(_LOOK_SECONDS)
            pairs = read_observed(Path(observations)).pairs
            fault = judgement.fault(pairs, settings) if alive() else "its process ended"
            if fault:
                raise Withdrawn(f"{tag} is withdrawn: {fault}")
            if judgement.passed(pairs, settings):
                return judgement.figures(pairs)
            if time.monotonic() > until:
                raise Withdrawn(
                    f"{tag} is withdrawn: only {len(pairs)} of {settings.requests} requests came within"
                    f" {settings.minutes:g} minutes; ask for fewer (serve.rollout.requests), or swap at once"
                )
