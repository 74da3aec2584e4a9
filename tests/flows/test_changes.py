from pathlib import Path
from typing import Any

import pytest

from flows import changes
from flows.changes import ROLLED_BACK, WITHDRAWN, tell_changes
from flows.notifications import RULES
from tasks.deployment.supervisor.record import HISTORY, note


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, version and payload of each event."""
    events: list[tuple[str, str, dict[str, Any]]] = []
    monkeypatch.setattr(
        changes,
        "emit_event",
        lambda name, resource, payload: events.append((name, resource["prefect.resource.name"], payload)),
    )
    return events


def test_withdrawals_and_rollbacks_are_told_once_each(tmp_path: Path, sent: list[Any]) -> None:
    memory = tmp_path / "told.json"
    note(tmp_path, "withdrawn", "m:v0", "before anybody looked", live=None)
    assert tell_changes(tmp_path, memory) == []
    note(tmp_path, "deployed", "m:v2", "asked for", live="m:v2")
    note(tmp_path, "withdrawn", "m:v2", "it failed 9 of its first 10 requests", live="m:v1")
    note(tmp_path, "rolled back", "m:v0", "asked for", live="m:v0")
    assert tell_changes(tmp_path, memory) == [WITHDRAWN, ROLLED_BACK]
    assert tell_changes(tmp_path, memory) == []
    assert [(name, tag, payload["live"], payload["why"]) for name, tag, payload in sent] == [
        (WITHDRAWN, "m:v2", "m:v1", "it failed 9 of its first 10 requests"),
        (ROLLED_BACK, "m:v0", "m:v0", "asked for"),
    ]


def test_the_first_of_all_is_told_too(tmp_path: Path, sent: list[Any]) -> None:
    tell_changes(tmp_path, tmp_path / "told.json")
    note(tmp_path, "withdrawn", "m:v1", "x" * 10_000, live=None)
    tell_changes(tmp_path, tmp_path / "told.json")
    assert [(tag, payload["live"], len(payload["why"])) for _, tag, payload in sent] == [("m:v1", "nothing", 500)]


def test_a_history_that_was_restored_is_told_from_where_it_was(tmp_path: Path, sent: list[Any]) -> None:
    note(tmp_path, "withdrawn", "m:v1", "old")
    before = (tmp_path / HISTORY).read_bytes()
    note(tmp_path, "withdrawn", "m:v2", "told")
    tell_changes(tmp_path, tmp_path / "told.json")
    (tmp_path / HISTORY).write_bytes(before)
    assert tell_changes(tmp_path, tmp_path / "told.json") == []
    note(tmp_path, "withdrawn", "m:v3", "new")
    tell_changes(tmp_path, tmp_path / "told.json")
    assert [tag for _, tag, _ in sent] == ["m:v3"]


def test_each_of_these_events_has_its_alert() -> None:
    assert {WITHDRAWN, ROLLED_BACK} <= {name for events, *_ in RULES.values() for name in events}
