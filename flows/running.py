"""A flow run on its way: carried by this process, or waiting for something."""

import contextlib
from collections.abc import Iterator
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State, StateType
from prefect.context import FlowRunContext
from prefect.states import Running

from flows.carried import note_begun, note_ended
from flows.settling import settle

WAITING = "Waiting"
"""Name of the state of a run that has begun and can do nothing yet."""


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Records this process as the one of the current flow run, and how the block ended.

    The record stays until the server is seen to know the run's final state: it may be down when the run ends. What an
    outage left behind is put right first, so that a run that catches up is the only one.
    """
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("recorded() belongs into a flow run")
    run = context.flow_run.id
    note_begun(run)
    if context.flow_run.parent_task_run_id is None:
        # Of what cannot be put right now the keeper takes care.
        with contextlib.suppress(httpx.HTTPError):
            settle()
    try:
        yield
    except BaseException as error:
        note_ended(run, error)
        raise
    note_ended(run, None)


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
