"""Which process carries a flow run, so that a run whose process was killed can be told from a slow one."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed, Running

from flows.environment import prefect_home
from flows.identity import identity, living

WAITING = "Waiting"
"""Name of the state of a run that has begun and can do nothing yet."""


def _folder() -> Path:
    return prefect_home() / "running"


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Records this process as the one of the current flow run while the block lasts."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("recorded() belongs into a flow run")
    record = _folder() / f"{context.flow_run.id}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps(identity(os.getpid())))
    try:
        yield
    finally:
        record.unlink(missing_ok=True)


@contextlib.contextmanager
def waiting(what: str) -> Iterator[None]:
    """Shows the current flow run, if there is one, as waiting for `what` while the block lasts.

    After an error the state stays: it is the last before the run's final one.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        yield
        return
    _show(context.flow_run.id, State(type=StateType.RUNNING, name=WAITING, message=what))
    yield
    _show(context.flow_run.id, Running())


def _show(run: UUID, state: State) -> None:
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run, state, force=True)


def crash_dead_runs() -> list[UUID]:
    """Sets every recorded run to Crashed whose process is gone; its concurrency slot is free from then on.

    Returns:
        The ids of these runs.
    """
    crashed = []
    for record in sorted(_folder().glob("*.json")) if _folder().exists() else ():
        run_id = UUID(record.stem)
        if _alive(record):
            continue
        with get_client(sync_client=True) as client, contextlib.suppress(ObjectNotFound):
            state = client.read_flow_run(run_id).state
            if state is None or not state.is_final():
                state = Crashed(message="The process of this run was killed; the next run goes on from its stages.")
                client.set_flow_run_state(run_id, state, force=True)
                crashed.append(run_id)
        record.unlink(missing_ok=True)
    return crashed


def _alive(record: Path) -> bool:
    try:
        return living(json.loads(record.read_text())) is not None
    except (OSError, ValueError):
        return False
