"""What is killed comes back, the port stays open meanwhile, and nothing is left over."""

import asyncio
import json
import os
import signal
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.deployment.supervisor import lifecycle, processes
from tasks.deployment.supervisor.processes import Role
from tasks.deployment.supervisor.record import Version, history
from tests.tasks.deployment.supervisor.traffic import traffic


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = condition()
        if result:
            return result
        time.sleep(0.05)
    raise AssertionError("it never came true")


def kill(state: Path, *roles: Role) -> list[int]:
    """At one blow: none has the time to start another one in place of those that were first."""
    pids = [found.pid for role in roles for found in processes.find(state, role)]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)
    return pids


def asked(url: str) -> str:
    request = urllib.request.Request(
        f"{url}/predict", json.dumps({"texts": ["atom"]}).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        return json.load(response)["model"]["bento"]


def whole(state: Path) -> dict[str, Any] | None:
    """The status, once there is one of each process and every worker answers."""
    running = lifecycle.status(state)
    roles = sorted(found.role for found in processes.find(state))
    complete = running and len(running["workers"]) == running["wanted"] > 0
    return running if complete and roles == ["guardian", "supervisor", "worker"] else None


@pytest.fixture
def running(state: Path, versions: list[Version]) -> dict[str, Any]:
    """The first version is live and the deployment whole."""
    lifecycle.start(state, "127.0.0.1", 0)
    running = lifecycle.status(state)
    if running is None or running["tag"] != versions[0].tag:
        lifecycle.swap(state, versions[0], "deployed", "test")
    return until(lambda: whole(state))


def test_a_killed_worker_is_replaced(state: Path, running: dict[str, Any]) -> None:
    killed = kill(state, "worker")
    after = until(lambda: (now := whole(state)) and now["workers"] != killed and now)
    assert after["restarts"] == 1
    assert asked(running["url"]) == running["tag"]


def test_a_killed_supervisor_costs_no_request_and_its_worker_is_adopted(state: Path, running: dict[str, Any]) -> None:
    async def scenario() -> dict[str, Any]:
        async with traffic(running["host"], running["port"], kept=2, fresh=1, pause=0.01) as tally:
            kill(state, "supervisor")
            after = await asyncio.to_thread(
                until, lambda: (now := whole(state)) and now["supervisor"] != running["supervisor"] and now
            )
        assert tally.failed == []
        assert tally.answers.total() > 10
        return after

    after = asyncio.run(scenario())
    assert after["workers"] == running["workers"]
    assert after["guardian"] == running["guardian"]


def test_a_killed_guardian_is_replaced_and_guards_as_before(state: Path, running: dict[str, Any]) -> None:
    kill(state, "guardian")
    after = until(lambda: (now := whole(state)) and now["guardian"] != running["guardian"] and now)
    assert after["supervisor"] == running["supervisor"]
    kill(state, "supervisor")
    last = until(lambda: (now := whole(state)) and now["supervisor"] != running["supervisor"] and now)
    assert last["workers"] == running["workers"]


def test_with_guardian_and_supervisor_killed_the_worker_answers_and_the_next_start_adopts_it(
    state: Path, running: dict[str, Any]
) -> None:
    kill(state, "guardian", "supervisor")
    assert lifecycle.status(state) is None
    assert asked(running["url"]) == running["tag"]
    after = lifecycle.start_live(state, running["host"], running["port"])
    assert after["workers"] == running["workers"]
    assert after["url"] == running["url"]


def test_where_sockets_cannot_be_taken_over_the_left_worker_is_ended_first(
    state: Path, running: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "take_over", lambda state: None)
    kill(state, "guardian", "supervisor")
    after = lifecycle.start_live(state, running["host"], running["port"])
    assert after["url"] == running["url"]
    assert set(after["workers"]).isdisjoint(running["workers"])
    assert whole(state)


def test_after_everything_was_killed_the_live_version_comes_back_on_its_port(
    state: Path, running: dict[str, Any]
) -> None:
    kill(state, "guardian", "supervisor", "worker")
    after = lifecycle.start_live(state, running["host"], running["port"])
    assert (after["tag"], after["url"]) == (running["tag"], running["url"])


def test_a_killed_guardian_that_is_still_to_be_seen_is_not_waited_for(
    state: Path, running: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = processes.find(state, "guardian")
    kill(state, "guardian", "supervisor", "worker")
    find, looks = processes.find, iter([dying, [], dying, []])
    monkeypatch.setattr(processes, "find", lambda *asked: next(looks, None) or find(*asked))
    assert lifecycle.start(state, running["host"], running["port"])["url"] == running["url"]


@pytest.mark.parametrize("role", ["worker", "supervisor", "guardian"])
def test_after_any_kill_the_next_swap_ends_with_only_the_new_version(
    state: Path, running: dict[str, Any], versions: list[Version], role: Role
) -> None:
    kill(state, role)
    until(lambda: lifecycle.status(state))
    after = lifecycle.swap(state, versions[1], "deployed", "test")
    until(lambda: whole(state))
    assert after["url"] == running["url"]
    assert {found.version for found in processes.find(state, "worker")} == {versions[1].tag}
    assert {asked(running["url"]) for _ in range(10)} == {versions[1].tag}


@pytest.mark.parametrize("harmed", ["src/bentos/text_classifier/model/model.onnx", "src"])
def test_a_live_version_that_does_not_load_any_more_gives_way_to_the_one_before(
    state: Path, running: dict[str, Any], versions: list[Version], harmed: str
) -> None:
    lifecycle.swap(state, versions[1], "deployed", "test")
    part = versions[1].path / harmed
    part.rename(part.with_name("removed"))

    async def scenario() -> None:
        async with traffic(running["host"], running["port"], fresh=1, pause=0.01) as tally:
            kill(state, "worker")
            await asyncio.to_thread(until, lambda: (now := whole(state)) and now["tag"] == versions[0].tag, 120)
        # What is at work in a killed process cannot be saved; there is one client.
        assert len(tally.failed) <= 1

    asyncio.run(scenario())
    part.with_name("removed").rename(part)
    *_, entry = history(state)
    assert (entry["event"], entry["tag"], entry["live"]) == ("withdrawn", versions[1].tag, versions[0].tag)
    assert "ended before they were ready" in str(entry["why"])


def test_stopping_ends_every_process_and_frees_the_port(state: Path, running: dict[str, Any]) -> None:
    lifecycle.stop(state)
    assert processes.find(state) == []
    with pytest.raises(OSError, match="refused"):
        asked(running["url"])
    again = lifecycle.start_live(state, running["host"], running["port"])
    assert again["url"] == running["url"]


def test_a_stopping_guardian_takes_all_with_it(state: Path, running: dict[str, Any]) -> None:
    os.kill(running["guardian"], signal.SIGTERM)
    until(lambda: processes.find(state) == [])
