"""The monitor flow: the page, the history, the events."""

import io
from pathlib import Path
from typing import Any

import pytest

from bentos.serving.sealing.folder import seal_folder
from bentos.serving.sealing.keys import provider_of
from flows import monitor as flow_module
from flows.console import Console, shown_on
from flows.monitor import DRIFT, FEEDBACK_READY, MonitorConfig, monitor_flow
from tasks.base.files import write_whole
from tasks.deployment.supervisor.record import LIVE, read_live
from tasks.release.package import bento_model
from tasks.watching.drift.history import looks
from tests.flows.watched import STRANGE, ask, make_live, tell, texts
from tests.tasks.keys import key_file

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state with a live version `text_classifier:v1` and its reference statistics."""
    make_live(tmp_path / "state", tmp_path / "bento")
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    sent: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(flow_module, "emit_event", lambda name, resource, payload: sent.append((name, payload)))
    return sent


def run(**settings: Any) -> str:
    out = io.StringIO()
    with shown_on(Console(out, io.StringIO())):
        monitor_flow(MonitorConfig(**settings))
    return out.getvalue()


def test_unchanged_traffic_sends_nothing_and_drift_sends_an_event(
    state: Path, events: list[tuple[str, dict[str, Any]]]
) -> None:
    assert "too few: 0 different texts" in run()
    assert "text_classifier:v1" in (state / "registry.html").read_text("utf-8")
    ask(state, state.parent / "bento", texts(300, seed=2))
    assert "estimated accuracy" in run()
    assert events == []
    ask(state, state.parent / "bento", STRANGE)
    said = run()
    assert said.startswith("drift: ")
    ((name, payload),) = events
    assert name == DRIFT
    assert "script" in payload["alarms"]
    page = (state / "drift" / "drift.html").read_text()
    assert "✕ Drift" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert [look.state for look in looks(state / "drift")] == ["too few", "steady", "drift"]


def test_enough_feedback_is_told_once(state: Path, events: list[tuple[str, dict[str, Any]]]) -> None:
    tell(state, 30)
    run(enough_feedback=31)
    assert events == []
    run(enough_feedback=30)
    run(enough_feedback=30)
    assert [(name, payload["feedback"]) for name, payload in events] == [(FEEDBACK_READY, 30)]


def test_without_a_live_version_a_look_says_so_and_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: list[tuple[str, dict[str, Any]]]
) -> None:
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(tmp_path))
    assert run().startswith("nothing live: ")
    assert events == []
    assert not (tmp_path / "drift").exists()


def test_the_traffic_of_a_sealed_version_is_watched(state: Path, tmp_path: Path) -> None:
    ask(state, tmp_path / "bento", texts(200, seed=2))
    key = key_file(tmp_path / "key")
    seal_folder(bento_model(tmp_path / "bento"), provider_of(key))
    live = read_live(state)
    assert live
    security = live.version.security.model_copy(update={"encrypt": key})
    version = live.version.model_copy(update={"security": security})
    write_whole(state / LIVE, live.model_copy(update={"versions": [version]}).model_dump_json())
    assert monitor_flow(MonitorConfig())["state"] == "steady"
