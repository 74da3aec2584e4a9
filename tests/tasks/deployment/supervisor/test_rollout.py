"""Shadow, canary and the first minutes: a bad version is found by its traffic, and costs none of it."""

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.base.errors import DeploymentError
from tasks.base.manifests import Deployment, Package
from tasks.base.settings import RolloutSettings, ServeSettings
from tasks.deployment.deploy import deploy
from tasks.deployment.supervisor import lifecycle, processes
from tasks.deployment.supervisor.record import Version, history
from tests.tasks.deployment.supervisor.bento import SERVE, fails_over, known, lay_out, slows_down
from tests.tasks.deployment.supervisor.traffic import Tally, traffic

# On a busy machine the way to the candidate may take long: only what is far slower may be found slow here.
TRIED = RolloutSettings(requests=60, shares=(0.5, 0.9), minutes=2, watch_minutes=0, max_slowdown=50)


def serve(**rollout: object) -> ServeSettings:
    return SERVE.model_copy(update={"rollout": TRIED.model_copy(update=rollout)})


@pytest.fixture(scope="module")
def live(state: Path, packages: list[Package]) -> Deployment:
    return deploy(packages[0], SERVE, known(1), state)


def under_load(live: Deployment, work: Callable[[], object], text: str = "atom race") -> Tally:
    host, port = live.url.removeprefix("http://").split(":")

    async def scenario() -> Tally:
        async with traffic(host, int(port), kept=3, fresh=1, pause=0.01, text=text) as tally:
            await asyncio.to_thread(work)
        return tally

    return asyncio.run(scenario())


def clean(state: Path, tag: str) -> bool:
    """Only the live version's processes are left, and no rule."""
    running = lifecycle.status(state)
    roles = sorted(found.role for found in processes.find(state))
    rule = (state / "serving" / "relay.json").exists()
    return bool(running and running["tag"] == tag and roles == ["guardian", "supervisor", "worker"] and not rule)


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_good_version_is_promoted_and_its_figures_are_kept(
    state: Path, live: Deployment, packages: list[Package], tmp_path: Path
) -> None:
    candidate = lay_out(tmp_path, 4, labels=1)
    answered: list[Deployment] = []
    tally = under_load(live, lambda: answered.append(deploy(candidate, serve(mode="canary"), known(1), state)))
    assert (tally.failed, tally.wrong) == ([], [])
    assert set(tally.answers) == {live.tag, candidate.tag}
    stages = answered[0].rollout
    assert [stage["stage"] for stage in stages] == ["canary 50%", "canary 90%"]
    assert all(stage["requests"] >= 60 and stage["disagreement"] == 0 for stage in stages)
    back(state, packages)
    until(lambda: clean(state, live.tag))


def back(state: Path, packages: list[Package]) -> None:
    lifecycle.swap(state, Version.of(packages[0], SERVE), "rolled back", "a test")


def fails(package: Package) -> None:
    fails_over(package, "race")


def slow(package: Package) -> None:
    slows_down(package, 0.15)


@pytest.mark.parametrize(
    ("rollout", "labels", "harm", "reason"),
    [
        ({"mode": "shadow"}, 1, fails, "it failed"),
        ({"mode": "canary", "max_slowdown": 3}, 1, slow, "times as long"),
        ({"mode": "shadow"}, 9, None, "got another label"),
    ],
    ids=["fails", "slow", "disagrees"],
)
def test_a_worse_version_is_withdrawn_and_costs_no_request(
    state: Path,
    live: Deployment,
    tmp_path: Path,
    rollout: dict[str, object],
    labels: int,
    harm: Callable[[Package], None] | None,
    reason: str,
) -> None:
    candidate = lay_out(tmp_path, 5, labels=labels)
    if harm:
        harm(candidate)

    def attempt() -> None:
        with pytest.raises(DeploymentError, match=rf"text_classifier:v5-{labels} is withdrawn: .*{reason}"):
            deploy(candidate, serve(**rollout), [], state)

    tally = under_load(live, attempt)
    assert (tally.failed, tally.wrong) == ([], [])
    *_, entry = history(state)
    assert (entry["event"], entry["tag"], entry["live"]) == ("withdrawn", candidate.tag, live.tag)
    until(lambda: clean(state, live.tag))


def test_a_version_that_too_few_ask_is_withdrawn(state: Path, live: Deployment, tmp_path: Path) -> None:
    candidate = lay_out(tmp_path, 6, labels=1)
    with pytest.raises(DeploymentError, match=r"only \d+ of 60 requests came within 0.01 minutes"):
        deploy(candidate, serve(mode="canary", minutes=0.01), [], state)
    until(lambda: clean(state, live.tag))


def test_a_version_that_turns_bad_after_the_swap_is_rescued_and_withdrawn(
    state: Path, live: Deployment, tmp_path: Path
) -> None:
    bad = lay_out(tmp_path, 7, labels=1)
    fails_over(bad, "race")
    done = threading.Event()

    def scenario() -> None:
        deploy(bad, serve(watch_minutes=1), [], state)
        until(lambda: clean(state, live.tag))
        done.set()

    tally = under_load(live, scenario)
    assert done.is_set()
    assert (tally.failed, tally.wrong) == ([], [])
    assert set(tally.answers) == {live.tag}
    *_, entry = history(state)
    assert (entry["event"], entry["tag"], entry["live"]) == ("withdrawn", bad.tag, live.tag)


def test_a_version_that_gets_through_its_first_minutes_stays(
    state: Path, live: Deployment, packages: list[Package], tmp_path: Path
) -> None:
    good = lay_out(tmp_path, 8, labels=1)
    deploy(good, serve(watch_minutes=0.05), known(1), state)
    until(lambda: clean(state, good.tag))
    back(state, packages)
