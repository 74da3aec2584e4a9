"""Shadow and canary: a version that passed its smoke test is tried on the live traffic before it takes over."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from bentos.serving.observations import Rule, read_observed
from tasks.base.errors import DeploymentError
from tasks.base.settings import RolloutSettings
from tasks.deployment.supervisor import control, judgement, lifecycle


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
    # A worker may write its last line while the folder is being removed.
    with tempfile.TemporaryDirectory(
        prefix="rollout-", dir=control.folder(state), ignore_cleanup_errors=True
    ) as folder:
        try:
            for number, (answers, share) in enumerate(_stages(settings)):
                observations = Path(folder) / str(number)
                observations.mkdir()
                rule = Rule(port=port, share=share, answers=answers, observations=str(observations))
                name = f"{settings.mode} {share:.0%}"
                stages.append({"stage": name, **_stage(state, tag, rule, alive, settings)})
        finally:
            lifecycle.relay(state, None)
    return stages


def _stages(settings: RolloutSettings) -> list[tuple[Literal["own", "other"], float]]:
    """Whose answers clients get, and for what share of the requests, stage by stage."""
    if settings.mode == "shadow":
        return [("own", settings.shadow_share)]
    return [("other", share) for share in settings.shares]


def _stage(state: Path, tag: str, rule: Rule, alive: Callable[[], bool], settings: RolloutSettings) -> dict[str, float]:
    until = time.monotonic() + settings.minutes * 60
    lifecycle.relay(state, rule)
    while True:
        time.sleep(_LOOK_SECONDS)
        pairs = read_observed(Path(rule.observations)).pairs
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
