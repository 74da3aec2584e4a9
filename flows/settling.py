"""What an outage leaves behind is put right: states of runs that nobody ended, slots that nobody holds, overdue runs.

Server, worker and keeper may be down for any time and in any order. Whoever is up again first, the keeper or the next
run, gives every run its true state from the record of its process, and lets one run of a schedule catch up, not all.
"""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    FlowRunFilter,
    FlowRunFilterStartTime,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Completed, Crashed, Failed

from flows.carried import COMPLETED, FAILED, Carried, carried
from flows.system import POOL

GRACE = timedelta(minutes=3)
"""How long a run may be without a process that is seen to carry it, and a process may take to tell how it ended."""
_HELD = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
"""In these a run holds a slot of its deployment."""
_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"
"""By which a worker tells a process which run it carries."""


def settle() -> list[str]:
    """Gives every run its true state, frees slots that no run holds, and skips overdue runs but one of a schedule.

    Returns:
        A line for each change.

    Raises:
        httpx.HTTPError: the server does not answer, or refuses.
    """
    with get_client(sync_client=True) as client:
        return [*_ended(client), *_orphans(client), *_skipped(client), *_freed(client)]


def _ended(client: SyncPrefectClient) -> Iterator[str]:
    """Of recorded runs: those whose process is gone, or has not told the server for long how it ended."""
    for record in carried():
        if record.alive and (record.ended is None or datetime.now(UTC) - record.ended < GRACE):
            if record.ended is not None and _final(client, record.run):
                record.file.unlink(missing_ok=True)
            continue
        if not _final(client, record.run):
            state = _true_state(record)
            yield _set(client, record.run, state)
        record.file.unlink(missing_ok=True)


def _final(client: SyncPrefectClient, run: UUID) -> bool:
    try:
        state = client.read_flow_run(run).state
    except ObjectNotFound:
        return True
    return state is not None and state.is_final()


def _true_state(record: Carried) -> State:
    if record.end == COMPLETED:
        return Completed(message="It ended well while the server was down.")
    if record.end == FAILED:
        return Failed(message=f"It ended while the server was down: {record.why}")
    return Crashed(message="The process of this run was killed; the next run goes on from its stages.")


def _orphans(client: SyncPrefectClient) -> Iterator[str]:
    """Of the worker's runs that nothing is recorded of: those that no process carries, as it was never started."""
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=_in(_HELD)),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[POOL])),
    )
    recorded = {record.run for record in carried()}
    old = [run for run in runs if run.id not in recorded and run.state and _age(run.state.timestamp) > GRACE]
    alive = _carried_by_processes() if old else set()
    for run in old:
        if str(run.id) not in alive:
            cancelled = run.state_type == StateType.CANCELLING
            state = Cancelled() if cancelled else Crashed(message="No process carries this run; the worker was killed.")
            yield _set(client, run.id, state)


def _carried_by_processes() -> set[str]:
    found = set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            found.add(process.environ().get(_RUN_VARIABLE, ""))
    return found


def _skipped(client: SyncPrefectClient) -> Iterator[str]:
    """Overdue runs of a schedule that another makes needless: a later one, or one that began after they were due."""
    due: dict[UUID, list[FlowRun]] = {}
    planned = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(state=_in([StateType.SCHEDULED])), sort=FlowRunSort.EXPECTED_START_TIME_ASC
    )
    for run in planned:
        overdue = run.expected_start_time and run.expected_start_time <= datetime.now(UTC)
        if overdue and run.auto_scheduled and run.deployment_id and run.start_time is None:
            due.setdefault(run.deployment_id, []).append(run)
    for deployment, runs in due.items():
        begun = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
            flow_run_filter=FlowRunFilter(start_time=FlowRunFilterStartTime(after_=runs[-1].expected_start_time)),
        )
        # The server counts planned runs, too, by the time that they are planned for.
        done = any(one.auto_scheduled and one.start_time for one in begun)
        for run in runs if done else runs[:-1]:
            yield _set(client, run.id, Cancelled(name="Skipped", message="A later run of the schedule does its work."))


def _freed(client: SyncPrefectClient) -> Iterator[str]:
    """Slots of deployments that no run holds, as seen twice: between two answers a run may begin or end."""
    if leaked := _leaked(client):
        time.sleep(1)
        for name, held in leaked.items() & _leaked(client).items():
            client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=held))
            yield f"slots of {name}: {held} held"


def _leaked(client: SyncPrefectClient) -> dict[str, int]:
    """Limits with more slots taken than runs hold, and how many these hold."""
    leaked = {}
    for deployment in client.read_deployments():
        limit = deployment.global_concurrency_limit
        if limit is None or limit.active_slots == 0:
            continue
        runs = client.read_flow_runs(
            deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment.id])),
            flow_run_filter=FlowRunFilter(state=_in(_HELD)),
        )
        if len(runs) < limit.active_slots:
            leaked[limit.name] = len(runs)
    return leaked


def _in(types: list[StateType]) -> FlowRunFilterState:
    return FlowRunFilterState(type=FlowRunFilterStateType(any_=types))


def _age(moment: datetime) -> timedelta:
    return datetime.now(UTC) - moment


def _set(client: SyncPrefectClient, run: UUID, state: State) -> str:
    client.set_flow_run_state(run, state, force=True)
    return f"run {run}: {state.name}: {state.message or 'as asked'}"
