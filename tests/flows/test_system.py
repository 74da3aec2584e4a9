"""A whole local system on real processes: started, asked for runs, killed, and ended."""

import csv
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil
import pytest

from flows.api import authorization
from flows.retrain import PROMOTED
from flows.system import _do
from tasks.base.errors import InputError
from tests.conftest import ROOT
from tests.end_to_end.labelled_text import rows
from tests.flows.watched import STRANGE, ask, make_live, tell

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

DEPLOYMENTS = {
    "retrain",
    "retrain-on-data",
    "retrain-on-drift",
    "retrain-on-feedback",
    "monitor",
    "batch-predict",
    "rollback",
    "maintain",
}
DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
"""Set it to an empty PostgreSQL database, and the tests run on that."""

Seen = TypeVar("Seen")


def until(look: Callable[[], Seen | None], what: str, seconds: float = 480.0) -> Seen:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if seen := look():
                return seen
        except (httpx.HTTPError, psutil.NoSuchProcess):
            pass
        time.sleep(0.3)
    raise AssertionError(f"{what} did not happen within {seconds:.0f} s")


class System:
    """A system in a folder of its own, and what its API says."""

    def __init__(self, state: Path, told: str) -> None:
        self.state = state
        own = {name: value for name, value in os.environ.items() if name == DATABASE or not name.startswith("PREFECT_")}
        self.environ = {
            **own,
            "MODEL_SERVICE_STATE": str(state),
            "BENTOML_HOME": str(state / "bentoml"),
            "PREFECT_SERVER_API_PORT": "0",
            # How soon a worker sees that a run is asked for, and one that found the slot taken asks again.
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "3",
            "MODEL_SERVICE_NOTIFY": told,
        }

    def command(self, name: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flows.system", name], cwd=ROOT, env=self.environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @property
    def secret(self) -> str:
        return (self.state / "prefect" / "api.secret").read_text()

    def record(self, name: str) -> dict[str, Any]:
        return json.loads((self.state / "prefect" / f"{name}.json").read_text())

    def answer(self, method: str, path: str, body: Any) -> httpx.Response:
        """Prefect's answer; as its own client does, asked again while that is 503, its database being locked."""

        def answered() -> httpx.Response | None:
            url, known = f"{self.record('server')['url']}{path}", authorization(self.secret)
            answer = httpx.request(method, url, json=body, headers=known, timeout=120)
            return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

        return until(answered, f"an answer to {method} {path}")

    def api(self, method: str, path: str, **body: Any) -> Any:
        answer = self.answer(method, path, body).raise_for_status()
        return answer.json() if answer.content else None

    def deployments(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.api("POST", "/deployments/filter")}

    def ask(self, name: str, parameters: dict[str, Any]) -> httpx.Response:
        deployment = self.deployments()[name]["id"]
        return self.answer("POST", f"/deployments/{deployment}/create_flow_run", {"parameters": parameters})

    def run(self, run_id: str) -> dict[str, Any]:
        return self.api("GET", f"/flow_runs/{run_id}")

    def carried_by(self, run_id: str) -> psutil.Process | None:
        """The process of a run that has begun to work."""
        record = self.state / "prefect" / "running" / f"{run_id}.json"
        return psutil.Process(json.loads(record.read_text())["pid"]) if record.exists() else None

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("MODEL_SERVICE_STATE") == str(self.state):
                    found.append(process)
            except psutil.Error:
                continue
        return [process for process in found if process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[str, list[str]]]:
    """The address of a webhook, and what was sent to it."""
    messages: list[str] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", messages
        server.shutdown()


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, told: tuple[str, list[str]]) -> Iterator[System]:
    one = System(tmp_path_factory.mktemp("system"), told[0])
    try:
        *_, last = one.command("up").splitlines()
        assert last == f"registry    {(one.state / 'registry.html').as_uri()}"
        assert (one.state / "registry.html").is_file()
        yield one
        one.command("down")
        assert [process.cmdline() for process in one.processes()] == []
    finally:
        for process in one.processes():
            process.kill()


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of a retrain that takes as little time as one can."""
    table = tmp_path_factory.mktemp("data") / "tickets.csv"
    with table.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("text", "label"), *rows(240)])
    return {"source": str(table), "effort": "quick", "train": {"candidates": ["linear"]}, "deploy": False}


def test_every_flow_is_deployed_with_its_schedule_and_its_trigger(system):
    deployed = system.deployments()
    assert set(deployed) == DEPLOYMENTS
    scheduled = {name: one["schedules"][0]["schedule"]["cron"] for name, one in deployed.items() if one["schedules"]}
    assert scheduled == {"retrain": "0 3 * * *", "monitor": "7 * * * *", "maintain": "30 1 * * *"}
    triggers = {one["name"]: one for one in system.api("POST", "/automations/filter")}
    for name, event in (("data", "data-changed"), ("drift", "drift"), ("feedback", "feedback-ready")):
        trigger = triggers[f"retrain-on-{name}"]
        assert trigger["trigger"]["expect"] == [f"model-service.{event}"]
        assert trigger["actions"][0]["deployment_id"] == deployed[f"retrain-on-{name}"]["id"]
    for name in DEPLOYMENTS:
        if name.startswith("retrain"):
            assert deployed[name]["global_concurrency_limit"]["limit"] == 1
            assert deployed[name]["concurrency_options"]["collision_strategy"] == "ENQUEUE"
            assert deployed[name]["parameters"]["config"]["source"]


@pytest.mark.parametrize(
    ("name", "parameters", "field"),
    [
        ("retrain", {"config": {}}, "source"),
        ("retrain-on-drift", {"config": None}, "config"),
        ("retrain", {"config": {"source": "x.csv", "data": {"test_share": 0.9}}}, "config.data.test_share"),
        ("retrain", {"config": {"source": "x.csv", "no_such_thing": 1}}, "no_such_thing"),
        ("batch-predict", {}, "config"),
        ("batch-predict", {"config": {"input": "x.csv"}}, "output"),
        ("rollback", {"config": {"to": ""}}, "config.to"),
    ],
)
def test_empty_or_wrong_parameters_are_refused_by_name_before_anything_starts(system, name, parameters, field):
    before = system.api("POST", "/flow_runs/count")
    answer = system.ask(name, parameters)
    assert answer.status_code == 409
    assert f"'{field}'" in answer.json()["detail"]
    assert system.api("POST", "/flow_runs/count") == before


@pytest.mark.parametrize("wrong", ["slack/none", "hooks.slack.com/services/T1/B2", "ops"])
def test_a_wrong_address_of_notifications_is_one_message(system, wrong):
    environ = {**system.environ, "PREFECT_API_URL": system.record("server")["url"], "MODEL_SERVICE_NOTIFY": wrong}
    with pytest.raises(InputError) as refused:
        _do([sys.executable, "-m", "flows.notifications"], environ)
    assert str(refused.value).startswith(f"MODEL_SERVICE_NOTIFY: {wrong!r} is neither")
    assert "\n" not in str(refused.value)


def test_a_paused_schedule_is_seen_in_the_status_and_a_restart_makes_it_active(system):
    nightly = system.deployments()["retrain"]["id"]
    system.api("PATCH", f"/deployments/{nightly}", paused=True)
    line = next(line for line in system.command("status").splitlines() if " retrain " in line)
    assert line.endswith("PAUSED")
    system.api("PATCH", f"/deployments/{nightly}", paused=False)


def triggered(system: System, name: str, source: Path) -> Callable[[], dict[str, Any] | None]:
    """Points a triggered deployment at `source`; returns what gives its failed run once there is one."""
    deployment = system.deployments()[name]["id"]
    system.api("PATCH", f"/deployments/{deployment}", parameters={"config": {"source": str(source)}})

    def ended() -> dict[str, Any] | None:
        runs = system.api("POST", "/flow_runs/filter", deployments={"id": {"any_": [deployment]}})
        return next((run for run in runs if run["state_type"] == "FAILED"), None)

    return ended


def test_a_file_that_lands_starts_a_retrain_whose_failure_is_told(system, told, tmp_path):
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    ended = triggered(system, "retrain-on-data", incoming)
    watched = system.state / "prefect" / "watched.json"
    until(lambda: watched.exists() and str(incoming) in json.loads(watched.read_text()), "the keeper's first look")
    assert ended() is None
    (incoming / "landed.csv").write_text("text,label\n")
    run = until(ended, "the triggered run")
    assert run["parameters"] == {"config": {"source": str(incoming)}}
    message = until(lambda: next((text for text in told[1] if run["name"] in text), None), "the message")
    assert message.startswith("retrain: Failed")
    assert str(incoming) in message


def test_drift_and_enough_feedback_found_by_monitor_start_a_retrain_each_and_drift_and_promotion_are_told(
    system, told, tmp_path
):
    make_live(system.state, tmp_path / "bento")
    ask(system.state, tmp_path / "bento", STRANGE)
    tell(system.state, 30)
    started = [triggered(system, f"retrain-on-{why}", tmp_path / f"{why}.csv") for why in ("drift", "feedback")]
    monitor = [sys.executable, "-m", "flows.monitor", "--enough-feedback", "30"]
    environ = {**system.environ, "PREFECT_API_URL": system.record("server")["url"]}
    said = subprocess.run(monitor, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert said.stdout.startswith("drift: "), said.stdout + said.stderr
    for ended, why in zip(started, ("drift", "feedback"), strict=True):
        run = until(ended, f"the run by {why}")
        assert run["parameters"] == {"config": {"source": str(tmp_path / f"{why}.csv")}}
    until(lambda: any("live traffic drifts" in text and "script" in text for text in told[1]), "the word of drift")
    promoted = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": PROMOTED,
        "resource": {"prefect.resource.id": "model-service.v2", "prefect.resource.name": "text_classifier:v2"},
        "payload": {"summary": "test accuracy 93 %"},
    }
    system.answer("POST", "/events", [promoted]).raise_for_status()
    until(lambda: "text_classifier:v2 is live\ntest accuracy 93 %" in told[1], "the word of a promotion")


def test_runs_asked_for_together_train_one_by_one_through_a_kill_and_a_cancel(system, config):
    """The first is killed, the second cancelled; the third succeeds unaided."""
    answers = [system.ask("retrain", {"config": config}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201] * 3, [answer.text for answer in answers]
    order = [answer.json()["id"] for answer in answers]

    def one_begun() -> str | None:
        begun = [run for run in order if system.carried_by(run)]
        assert len(begun) <= 1
        return begun[0] if begun else None

    first = until(one_begun, "the first run")
    order.remove(first)
    process = system.carried_by(first)
    assert process
    family = [process, *process.children(recursive=True)]
    for member in family:
        member.kill()
    until(lambda: system.run(first)["state_type"] == "CRASHED", "the crash")

    second = until(one_begun, "the second run")
    order.remove(second)
    process = system.carried_by(second)
    assert process
    family = [process, *process.children(recursive=True)]
    system.api("POST", f"/flow_runs/{second}/set_state", state={"type": "CANCELLING"})
    until(lambda: system.run(second)["state_type"] == "CANCELLED", "the cancellation")
    assert psutil.wait_procs(family, timeout=120)[1] == []

    (third,) = order
    run = until(lambda: (seen := system.run(third))["end_time"] and seen, "the third run")
    assert run["state_type"] == "COMPLETED", run["state"]


def test_one_run_of_a_schedule_is_planned_ahead_so_that_an_outage_leaves_one_to_catch_up_with(system):
    def planned() -> list[str] | None:
        runs = system.api("POST", "/flow_runs/filter", flow_runs={"state": {"type": {"any_": ["SCHEDULED"]}}})
        found = [run["deployment_id"] for run in runs if run["auto_scheduled"]]
        return found if len(set(found)) == 3 else None

    found = until(planned, "the planning")
    assert len(found) == len(set(found))


def test_a_killed_server_and_a_killed_worker_come_back_by_themselves(system):
    before = {name: system.record(name)["pid"] for name in ("server", "worker")}
    address = system.record("server")["url"]
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)

    def back() -> bool:
        alive = all(psutil.pid_exists(system.record(name)["pid"]) for name in before)
        return alive and all(system.record(name)["pid"] != pid for name, pid in before.items())

    until(back, "the restart")
    assert system.record("server")["url"] == address
    until(lambda: set(system.deployments()) == DEPLOYMENTS, "the server's answer")
    workers = "/work_pools/local/workers/filter"
    until(lambda: any(one["status"] == "ONLINE" for one in system.api("POST", workers)), "the worker's return")


def test_a_run_that_ended_while_server_and_keeper_were_down_is_ended_and_the_next_one_runs(system, config):
    """The process of the run is killed with them, and once more its work goes on without a server until it gives up."""
    for kill in (True, False):
        run = system.ask("retrain", {"config": config}).json()["id"]
        process = until(lambda run=run: system.carried_by(run), "the run")
        assert process
        for name in ("keeper", "server"):
            os.kill(system.record(name)["pid"], signal.SIGKILL)
        if kill:
            for member in [process, *process.children(recursive=True)]:
                member.kill()
        assert psutil.wait_procs([process], timeout=600)[1] == []
        system.command("up")
        until(lambda run=run: system.run(run)["end_time"], "the end of the run")
        assert system.run(run)["state_type"] in (["CRASHED"] if kill else ["COMPLETED", "FAILED", "CRASHED"])
        limit = until(lambda: system.deployments()["retrain"], "the deployments")["global_concurrency_limit"]
        assert limit["active_slots"] == 0
    after = system.ask("retrain", {"config": config}).json()["id"]
    until(lambda: system.run(after)["end_time"], "the next run")
    assert system.run(after)["state_type"] == "COMPLETED"
