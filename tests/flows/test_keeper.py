import logging
from pathlib import Path
from typing import Any

import pytest

from flows import keeper
from flows.arrivals import Watch


def test_what_the_keeper_says_and_keeps_of_a_changed_database_holds_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"source": "postgresql://ann:pa55@db.example/shop", "query": "SELECT text, label FROM rows"}
    counts, events = iter("122"), []
    monkeypatch.setattr(keeper.system, "start_server", lambda: None)
    monkeypatch.setattr(keeper.system, "start_worker", lambda deploy: None)
    monkeypatch.setattr(keeper, "settle", list)
    monkeypatch.setattr(
        keeper, "listed", lambda url, what: [{"name": keeper.WATCHING, "parameters": {"config": config}}]
    )
    monkeypatch.setattr(keeper, "fingerprint", lambda source, query: next(counts))
    monkeypatch.setattr(keeper, "emit_event", lambda *event, **more: events.append((event, more)))
    watch = Watch(tmp_path / "watched.json")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            keeper.look(watch)
    (event,) = events
    told: Any = event[1]
    assert told["payload"] == {"source": "postgresql://db.example/shop"}
    assert "pa55" not in f"{event}{caplog.text}{watch.memory.read_text()}"
    assert "db.example" in caplog.text
