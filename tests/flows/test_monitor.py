"""The monitor flow: the page, the history, the events."""

import io
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from prefect.testing.utilities import prefect_test_harness

from bentos.text_classifier.model import TextModel
from bentos.text_classifier.prediction_log import PredictionLog
from bentos.text_classifier.records import FeedbackRecord
from bentos.text_classifier.settings import ServiceSettings
from flows import monitor as flow_module
from flows.console import Console, shown_on
from flows.monitor import DRIFT, FEEDBACK_READY, MonitorConfig, monitor_flow
from tasks.drift import reference_statistics
from tasks.drift.history import looks
from tasks.manifests import Dataset, Profile
from tasks.package import bento_model
from tasks.serving.record import LIVE, Live, Version, write_whole
from tasks.settings import ServeSettings
from tests.bentos.model_folder import WORDS, grams_folder, sentence

LABELS = list(WORDS)


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


def texts(rows: int, seed: int = 1) -> list[str]:
    random = Random(seed)
    return [f"{sentence(LABELS[row % 3], 1 + row % 5)} {random.randint(1000, 9999)}" for row in range(rows)]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state with a live version `text_classifier:v1` and its reference statistics."""
    folder = grams_folder(bento_model(tmp_path / "bento"))
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": texts(300), "label": [LABELS[row % 3] for row in range(300)]}), path)
    profile = Profile(scripts={}, language="en", characters={}, tokens={}, total_tokens=0, imbalance=1.0)
    dataset = Dataset(
        task="single", labels=LABELS, train=path, validation=path, test=path, rows={}, profile=profile, max_length=9,
        content="c",
    )  # fmt: skip
    reference_statistics(dataset, folder, folder, ("validation",))
    state = tmp_path / "state"
    version = Version(tag="text_classifier:v1", path=tmp_path / "bento", content="c", serve=ServeSettings())
    write_whole(state / LIVE, Live(versions=[version], since=datetime.now(UTC)).model_dump_json())
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(state))
    return state


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    sent: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(flow_module, "emit_event", lambda name, resource, payload: sent.append((name, payload)))
    return sent


def ask(state: Path, asked: list[str]) -> None:
    model = TextModel.load(bento_model(state.parent / "bento"))
    log = PredictionLog(state / "records", model, "v1", ServiceSettings())
    answers = model.predict(asked)
    for number, answer in enumerate(answers):
        answer.id = str(number)
    log.add(asked, answers, "client")
    log.close()


def run(**settings: Any) -> str:
    out = io.StringIO()
    with shown_on(Console(out, io.StringIO())):
        monitor_flow(MonitorConfig(**settings))
    return out.getvalue()


def test_unchanged_traffic_sends_nothing_and_drift_sends_an_event(
    state: Path, events: list[tuple[str, dict[str, Any]]]
) -> None:
    assert "too few: 0 different texts" in run()
    ask(state, texts(300, seed=2))
    assert "estimated accuracy" in run()
    assert events == []
    ask(state, ["Пожалуйста, верните мои деньги " + "!" * number for number in range(100)])
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
    records = state / "records"
    records.mkdir()
    now = time.time() + 1
    told = [FeedbackRecord(now + number, str(number), f"text {number}", "food", "v1", "a") for number in range(30)]
    (records / "feedback-1.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in told))
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
