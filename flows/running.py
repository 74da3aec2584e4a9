"""Which process carries a flow run, so that a run whose process was killed can be told from a slow one."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from flows.environment import prefect_home
from flows.identity import identity, living


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
