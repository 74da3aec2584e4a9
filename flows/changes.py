"""Events of versions that changed without a retrain, told from the history of the deployment.

The supervisor, which withdraws versions by itself, knows nothing of Prefect: it notes what it did, as a rollback does,
and the keeper comes by and tells.
"""

import json
from pathlib import Path
from typing import Any

from prefect.events import emit_event

from tasks.base.files import write_whole
from tasks.deployment.supervisor.record import history

WITHDRAWN = "model-service.withdrawn"
ROLLED_BACK = "model-service.rolled-back"
EVENTS = {"withdrawn": WITHDRAWN, "rolled back": ROLLED_BACK}
_LONGEST_REASON = 500


def tell_changes(state: Path, memory: Path) -> list[str]:
    """Sends an event for each withdrawal and rollback noted since the last call; the first call only remembers.

    Args:
        memory: file that holds the last entry that was seen.

    Returns:
        The events' names.
    """
    entries = list(history(state))
    first = not memory.exists()
    last = None if first else json.loads(memory.read_text("utf-8"))
    fresh = [entry for entry in _after(entries, last) if not first and entry["event"] in EVENTS]
    for entry in fresh:
        _tell(entry)
    seen = entries[-1] if entries else None
    if first or seen != last:
        write_whole(memory, json.dumps(seen))
    return [EVENTS[entry["event"]] for entry in fresh]


def _after(entries: list[dict[str, Any]], last: dict[str, Any] | None) -> list[dict[str, Any]]:
    if last is None:
        return entries
    if last in entries:
        return entries[entries.index(last) + 1 :]
    # The history was restored or rewritten.
    return [entry for entry in entries if entry["time"] > last["time"]]


def _tell(entry: dict[str, Any]) -> None:
    tag = entry["tag"]
    emit_event(
        EVENTS[entry["event"]],
        resource={"prefect.resource.id": f"model-service.{tag}", "prefect.resource.name": tag},
        payload={"live": entry.get("live") or "nothing", "who": entry["who"], "why": entry["why"][:_LONGEST_REASON]},
    )
