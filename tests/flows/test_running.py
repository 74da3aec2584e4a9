"""Whatever was down for however long: every run has its true state, slots are free, one run a schedule catches up."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from prefect import flow, get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate, WorkPoolCreate
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from prefect.states import Cancelling, Pending, Running, Scheduled

from flows import carried, settling
from flows.identity import identity
from flows.running import recorded
from flows.settling import settle

pytestmark = pytest.mark.usefixtures("prefect_server")


@flow
def one() -> None:
    pass


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(carried, "prefect_home", lambda: tmp_path)
    (tmp_path / "running").mkdir()
    return tmp_path / "running"


@pytest.fixture
def client() -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def dead() -> dict[str, object]:
    """What was known of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = identity(process.pid)
    process.communicate()
    return known


def state_of(client: SyncPrefectClient, run: UUID) -> State:
    state = client.read_flow_run(run).state
    assert state
    return state


def test_a_run_is_recorded_until_the_server_knows_how_it_ended(home: Path) -> None:
    @flow
    def working() -> str:
        with recorded():
            (record,) = carried.carried()
            assert record.alive
            assert record.end is None
            assert settle() == []
        # The server does not know yet that the work is over, and the process is about to say it.
        assert carried.carried()[0].end == "COMPLETED"
        assert settle() == []
        context = FlowRunContext.get()
        assert context
        assert context.flow_run
        return str(context.flow_run.id)

    run = working()
    assert [record.run for record in carried.carried()] == [UUID(run)]
    assert settle() == []
    assert not list(home.glob("*.json"))


def test_a_run_whose_process_was_killed_is_marked_as_crashed(
    client: SyncPrefectClient, home: Path, dead: dict[str, object]
) -> None:
    run = client.create_flow_run(one, state=Running())
    (home / f"{run.id}.json").write_text(json.dumps(dead))
    assert len(settle()) == 1
    assert state_of(client, run.id).is_crashed()
    assert not list(home.glob("*.json"))


@pytest.mark.parametrize(("end", "type_"), [("COMPLETED", "COMPLETED"), ("FAILED", "FAILED")])
def test_a_run_that_ended_while_the_server_was_down_gets_the_state_that_it_ended_in(
    client: SyncPrefectClient, home: Path, dead: dict[str, object], end: str, type_: str
) -> None:
    run = client.create_flow_run(one, state=Running())
    ended = {**dead, "end": end, "ended": time.time(), "why": "InputError: no such file"}
    (home / f"{run.id}.json").write_text(json.dumps(ended))
    (change,) = settle()
    assert str(run.id) in change
    state = state_of(client, run.id)
    assert state.type == type_
    assert ("no such file" in str(state.message)) == (end == "FAILED")
    assert settle() == []


def test_a_process_that_never_tells_how_its_run_ended_is_not_waited_for(client: SyncPrefectClient, home: Path) -> None:
    run = client.create_flow_run(one, state=Running())
    known = {**identity(os.getpid()), "end": "COMPLETED", "why": ""}
    (home / f"{run.id}.json").write_text(json.dumps({**known, "ended": time.time()}))
    assert settle() == []
    (home / f"{run.id}.json").write_text(json.dumps({**known, "ended": time.time() - 600}))
    assert len(settle()) == 1
    assert state_of(client, run.id).is_completed()


def test_a_stranger_with_the_same_process_id_does_not_count(client: SyncPrefectClient, home: Path) -> None:
    run = client.create_flow_run(one, state=Running())
    (home / f"{run.id}.json").write_text(json.dumps({**identity(os.getpid()), "started": 1}))
    settle()
    assert state_of(client, run.id).is_crashed()


def test_a_record_of_a_run_that_nobody_knows_any_more_is_removed(home: Path, dead: dict[str, object]) -> None:
    (home / f"{uuid4()}.json").write_text(json.dumps(dead))
    assert settle() == []
    assert not list(home.glob("*.json"))


@pytest.fixture
def deployment(client: SyncPrefectClient) -> Iterator[UUID]:
    """Of one run at a time, by the local pool."""
    client.create_work_pool(WorkPoolCreate(name=settling.POOL, type="process"), overwrite=True)
    made = client.create_deployment(
        client.create_flow(one), f"d-{uuid4()}", work_pool_name=settling.POOL, concurrency_limit=1
    )
    yield made
    client.delete_deployment(made)


def test_a_run_that_the_worker_took_and_no_process_carries_is_ended(
    client: SyncPrefectClient, deployment: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending, running, cancelling, carried_on = [
        client.create_flow_run_from_deployment(deployment, state=state)
        for state in (Pending(), Running(), Cancelling(), Running())
    ]
    environ = {**os.environ, "PREFECT__FLOW_RUN_ID": str(carried_on.id)}
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=environ)
    try:
        assert not any(str(pending.id) in line for line in settle())
        monkeypatch.setattr(settling, "GRACE", timedelta(0))
        settle()
    finally:
        process.communicate()
    assert state_of(client, pending.id).is_crashed()
    assert state_of(client, running.id).is_crashed()
    assert state_of(client, cancelling.id).is_cancelled()
    assert state_of(client, carried_on.id).is_running()
    client.delete_flow_run(carried_on.id)


def test_a_slot_that_no_run_holds_is_freed_and_one_that_is_held_stays(
    client: SyncPrefectClient, deployment: UUID
) -> None:
    def slots() -> tuple[str, int]:
        limit = client.read_deployment(deployment).global_concurrency_limit
        assert limit
        return limit.name, limit.active_slots

    name, _ = slots()
    run = client.create_flow_run_from_deployment(deployment)
    client.set_flow_run_state(run.id, Pending())
    assert settle() == []
    assert slots()[1] == 1
    client.delete_flow_run(run.id)
    client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=1))
    assert any(name in line for line in settle())
    assert slots()[1] == 0


def scheduled(client: SyncPrefectClient, deployment: UUID, minutes: float) -> UUID:
    """A run that its schedule asked for, due so many minutes ago."""
    due = datetime.now(UTC) - timedelta(minutes=minutes)
    run = client.create_flow_run_from_deployment(deployment, state=Scheduled(scheduled_time=due))
    database = PREFECT_API_DATABASE_CONNECTION_URL.value()
    assert database
    # Of what Prefect lets clients do, planning by schedule is none.
    with sqlite3.connect(str(database).partition("///")[2], timeout=60) as connection:
        connection.execute("UPDATE flow_run SET auto_scheduled = 1 WHERE id = ?", (str(run.id),))
    return run.id


def test_of_runs_that_piled_up_the_last_one_catches_up(client: SyncPrefectClient, deployment: UUID) -> None:
    first, second, third = (scheduled(client, deployment, minutes) for minutes in (180, 120, 60))
    ahead = scheduled(client, deployment, -60)
    by_hand = client.create_flow_run_from_deployment(deployment)
    settle()
    assert [state_of(client, run).name for run in (first, second)] == ["Skipped", "Skipped"]
    waiting = [state_of(client, run).name for run in (third, ahead, by_hand.id)]
    assert waiting == ["Scheduled", "Scheduled", "Scheduled"]
    # The one that catches up has begun: what fell due before it is done by it.
    late = scheduled(client, deployment, 30)
    client.set_flow_run_state(third, Running(), force=True)
    settle()
    assert state_of(client, late).name == "Skipped"
    assert state_of(client, third).is_running()
    client.set_flow_run_state(third, Scheduled(), force=True)
