"""A deployment takes over the traffic whole, or leaves everything as it was; nobody's request is lost either way."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tasks.base.errors import DeploymentError, InputError
from tasks.base.manifests import Deployment, Package
from tasks.base.settings import RolloutSettings, ServeSettings
from tasks.data.prediction_log import read_predictions
from tasks.deployment import deploy as deploying
from tasks.deployment.deploy import deploy, rollback
from tasks.deployment.supervisor import lifecycle, processes
from tasks.deployment.supervisor.address import address_of
from tasks.deployment.supervisor.listener import spare_port
from tasks.deployment.supervisor.record import Version, change_live, history, read_live
from tasks.release.package import bento_model
from tests.tasks.deployment.supervisor.bento import SERVE, known, lay_out
from tests.tasks.deployment.supervisor.traffic import Tally, traffic


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deployment")


@pytest.fixture(scope="module")
def packages(folder: Path) -> list[Package]:
    return [lay_out(folder, step) for step in (1, 2)]


@pytest.fixture(scope="module")
def state(folder: Path) -> Iterator[Path]:
    state = folder / "state"
    yield state
    lifecycle.stop(state)
    assert processes.find(state) == []


@pytest.fixture(scope="module")
def live(state: Path, packages: list[Package]) -> Deployment:
    """The first version, deployed before anything else."""
    return deploy(packages[0], SERVE, known(1), state)


def under_load(state: Path, work: Callable[[], object]) -> Tally:
    """What clients saw while `work` was done."""

    async def scenario() -> Tally:
        running = lifecycle.status(state)
        assert running
        async with traffic(running["host"], running["port"], kept=4, fresh=2, pause=0.01) as tally:
            await asyncio.to_thread(work)
        return tally

    return asyncio.run(scenario())


def last_event(state: Path) -> tuple[object, object]:
    *_, entry = history(state)
    return entry["event"], entry["tag"]


def test_a_first_deployment_is_live_and_smoke_tested(state: Path, live: Deployment, packages: list[Package]) -> None:
    assert (live.tag, live.previous, live.state) == (packages[0].tag, None, "live")
    checks = [check["check"] for check in live.smoke]
    assert checks == ["contract", "known answers", "odd texts", "bad input", "latency"]
    assert live.latency_ms is not None
    assert live.latency_ms > 0
    assert live.content not in ("", packages[0].content)


def test_what_a_deployment_asks_itself_is_not_looked_at_as_live_traffic(state: Path, live: Deployment) -> None:
    def recorded(count: int) -> list[float]:
        end = time.monotonic() + 240
        while len(times := sorted(record.time for record in read_predictions(state / "records"))) < count:
            assert time.monotonic() < end, times
            time.sleep(0.05)
        return times

    own = recorded(2 + len(known(1)))
    record = read_live(state)
    assert record
    assert own[-1] < record.since.timestamp()
    assert httpx.post(f"{live.url}/predict", json={"texts": ["from a client"]}).status_code == 200
    assert recorded(len(own) + 1)[-1] > record.since.timestamp()


def test_deploying_and_rolling_back_lose_no_request(state: Path, live: Deployment, packages: list[Package]) -> None:
    first, second = packages
    tally = under_load(state, lambda: deploy(second, SERVE, known(2), state))
    assert (tally.failed, tally.wrong) == ([], [])
    assert set(tally.answers) == {first.tag, second.tag}
    tally = under_load(state, lambda: rollback(None, state, "a test"))
    assert (tally.failed, tally.wrong) == ([], [])
    assert set(tally.answers) == {first.tag, second.tag}
    record = read_live(state)
    assert record
    assert record.version.tag == first.tag
    assert last_event(state) == ("rolled back", first.tag)


def broken_graph(package: Package) -> None:
    graph = bento_model(package.path) / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:100])


def no_code(package: Package) -> None:
    (package.path / "src" / "bentos" / "serving" / "worker.py").unlink()


def nothing(package: Package) -> None:
    pass


@pytest.mark.parametrize(
    ("harm", "serve", "answers", "reason"),
    [
        (broken_graph, SERVE, known(9), "model.onnx cannot be loaded"),
        (no_code, SERVE, known(9), "ended before it was ready"),
        (nothing, SERVE, known(8), "3 of 3 differ from the model's own"),
        (nothing, SERVE.model_copy(update={"smoke_latency_ms": 1e-6}), known(9), "serve.smoke_latency_ms"),
    ],
    ids=["broken graph", "no code", "wrong answers", "too slow"],
)
def test_a_bad_version_is_refused_and_costs_no_request(
    state: Path,
    live: Deployment,
    tmp_path: Path,
    harm: Callable[[Package], None],
    serve: ServeSettings,
    answers: list[tuple[str, str]],
    reason: str,
) -> None:
    bad = lay_out(tmp_path, 9)
    harm(bad)

    def attempt() -> None:
        with pytest.raises(DeploymentError, match=reason):
            deploy(bad, serve, answers, state)

    tally = under_load(state, attempt)
    assert (tally.failed, tally.wrong) == ([], [])
    assert set(tally.answers) == {live.tag}
    assert last_event(state) == ("refused", bad.tag)
    assert [found.version for found in processes.find(state) if found.role in ("worker", "trial")] == [live.tag]


def test_a_version_that_fails_in_public_is_withdrawn(
    state: Path, live: Deployment, packages: list[Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(url: str, version: Version, known: list[tuple[str, str]], state: Path) -> None:
        raise DeploymentError("it answers nonsense")

    monkeypatch.setattr(deploying, "_check_public", fails)
    with pytest.raises(DeploymentError, match="failed through the public port: it answers nonsense"):
        deploy(packages[1], SERVE, known(2), state)
    running = lifecycle.status(state)
    assert running
    assert running["tag"] == live.tag
    assert last_event(state) == ("withdrawn", packages[1].tag)


def test_a_failed_first_deployment_leaves_nothing(tmp_path: Path) -> None:
    bad = lay_out(tmp_path, 1)
    broken_graph(bad)
    with pytest.raises(DeploymentError):
        deploy(bad, SERVE, known(1), tmp_path / "state")
    assert processes.find(tmp_path / "state") == []
    assert read_live(tmp_path / "state") is None


def test_a_taken_port_is_refused_by_the_name_of_its_holder(tmp_path: Path, packages: list[Package]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(DeploymentError, match=rf"port {port} on 127.0.0.1 is taken by process {os.getpid()} \("):
            deploy(packages[0], SERVE.model_copy(update={"port": port}), known(1), tmp_path / "state")
    assert processes.find(tmp_path / "state") == []


def test_without_a_port_the_live_address_stays_and_a_move_is_said(tmp_path: Path) -> None:
    """Whether the deployment succeeds, fails or is rolled back."""
    state, first, second = tmp_path / "state", spare_port(), spare_port()
    packages = [lay_out(tmp_path, step) for step in (1, 2, 3)]

    def serve(port: int | None) -> ServeSettings:
        return SERVE.model_copy(update={"port": port})

    def answering() -> str:
        running = lifecycle.status(state)
        record = read_live(state)
        assert running
        assert record
        assert address_of(record.version.serve) == ("127.0.0.1", running["port"])
        return running["url"]

    try:
        assert deploy(packages[0], serve(first), known(1), state).moved_from is None
        stayed = deploy(packages[1], serve(None), known(2), state)
        assert (stayed.url, stayed.moved_from) == (f"http://127.0.0.1:{first}", None)
        moved = deploy(packages[2], serve(second), known(3), state)
        assert (moved.url, moved.moved_from) == (f"http://127.0.0.1:{second}", f"127.0.0.1:{first}")
        assert rollback(None, state, "a test").url == answering() == moved.url
        broken_graph(packages[2])
        with pytest.raises(DeploymentError):
            deploy(packages[2], serve(first), known(3), state)
        assert answering() == moved.url
    finally:
        lifecycle.stop(state)


def test_a_move_that_fails_in_public_is_taken_back(
    state: Path, live: Deployment, packages: list[Package], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(url: str, version: Version, known: list[tuple[str, str]], state: Path) -> None:
        raise DeploymentError("it answers nonsense")

    lifecycle.stop(state)
    port = spare_port()
    lifecycle.start(state, "127.0.0.1", port)
    record = read_live(state)
    assert record
    settled = record.version.model_copy(update={"serve": SERVE.model_copy(update={"port": port})})
    change_live(state, settled, "deployed")
    monkeypatch.setattr(deploying, "_check_public", fails)
    with pytest.raises(DeploymentError, match="it answers nonsense"):
        deploy(packages[1], SERVE.model_copy(update={"port": spare_port()}), known(2), state)
    running = lifecycle.status(state)
    assert running
    assert (running["tag"], running["port"]) == (live.tag, port)


def test_there_is_nothing_to_roll_back_to(state: Path, live: Deployment) -> None:
    with pytest.raises(InputError, match="is the only version that was deployed"):
        rollback(None, state, "a test")
    with pytest.raises(InputError, match=r"there is no version text_classifier:v77; .* live before: none"):
        rollback("v77", state, "a test")


def test_a_version_whose_bento_is_gone_is_refused(
    state: Path, live: Deployment, packages: list[Package], tmp_path: Path
) -> None:
    gone = lay_out(tmp_path, 5)
    deploy(gone, SERVE, known(5), state)
    deploy(packages[0], SERVE, known(1), state)
    shutil.rmtree(gone.path)
    with pytest.raises(InputError, match=r"the bento of text_classifier:v5 is gone"):
        rollback("v5", state, "a test")
    with pytest.raises(InputError, match=r"the bento of text_classifier:v5 is gone"):
        rollback(None, state, "a test")
    running = lifecycle.status(state)
    assert running
    assert running["tag"] == live.tag


@pytest.mark.parametrize("running", [True, False])
def test_a_new_version_replaces_a_live_one_whose_bento_is_gone(tmp_path: Path, running: bool) -> None:
    state, gone, new = tmp_path / "state", lay_out(tmp_path, 1), lay_out(tmp_path, 2)
    serve = SERVE.model_copy(update={"rollout": RolloutSettings(mode="canary", watch_minutes=1)})
    try:
        deploy(gone, SERVE, known(1), state)
        if not running:
            lifecycle.stop(state)
        shutil.rmtree(gone.path)
        with pytest.raises(InputError, match=rf"the bento of the live version, {gone.tag}, is gone from .*v1"):
            lifecycle.start_live(state, "127.0.0.1", 0)
        done = deploy(new, serve, known(2), state)
        assert (done.tag, done.previous, done.rollout) == (new.tag, gone.tag, [])
        answers = httpx.post(f"{done.url}/predict", json={"texts": [known(2)[0][0]]}).json()
        assert answers["predictions"][0]["label"] == known(2)[0][1]
        assert not [found for found in processes.find(state) if found.role == "standby"]
    finally:
        lifecycle.stop(state)


@pytest.mark.parametrize(
    ("command", "status", "message"),
    [
        ("start", 2, "error: nothing was deployed yet: `make retrain` trains a model and deploys it"),
        ("status", 1, "not running"),
        ("stop", 0, "nothing was running"),
    ],
)
def test_commands_say_what_to_do_when_nothing_was_deployed(
    tmp_path: Path, command: str, status: int, message: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tasks.deployment", command, "--state", str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == status
    assert (done.stdout + done.stderr).strip() == message
