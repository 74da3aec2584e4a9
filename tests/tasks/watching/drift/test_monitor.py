"""From recorded predictions to a report: too few, steady, drift; what feedback says; whose traffic it is."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.decoding import Options
from bentos.text_classifier.feedback import FeedbackRecord
from bentos.text_classifier.manifest import dump
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.prediction_log import PredictionLog
from bentos.text_classifier.settings import Settings
from tasks.base.errors import InputError
from tasks.base.manifests import Dataset, Profile
from tasks.base.settings import WatchSettings
from tasks.kinds.intervals import proportion
from tasks.verdict.scope import fit_scope
from tasks.watching.drift import DriftReport, monitor, reference_statistics
from tests.bentos.text_classifier.model_folder import WORDS, grams_folder
from tests.bentos.text_classifier.servers import client

PLACES = ["garden", "station", "harbour", "kitchen", "office", "library", "valley", "village", "tunnel", "market"]
NAMES = ["anna", "bela", "carl", "dora", "emil", "fritz", "gerda", "hans", "ines", "jan", "karla", "ludwig"]
LABELS = list(WORDS)


def ordinary(rows: int, seed: int) -> tuple[list[str], list[str]]:
    """Different texts that all come from one rule, and their labels."""
    random = np.random.default_rng(seed)
    labels = random.choice(LABELS, rows).tolist()
    return [
        f"{random.choice(NAMES)} and {random.choice(NAMES)} found the {random.choice(WORDS[label])} "
        f"near the {random.choice(PLACES)} at {random.integers(1, 24)}"
        for label in labels
    ], labels


def strange(rows: int, seed: int) -> list[str]:
    random = np.random.default_rng(seed)
    return [f"Who invoiced order {random.integers(10_000)}, and why is my parcel late?" for _ in range(rows)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = grams_folder(tmp_path_factory.mktemp("model"))
    opened = TextModel.load(folder)
    scope = fit_scope(opened, ordinary(2000, 1)[0], ordinary(400, 2)[0])
    (folder / MANIFEST).write_bytes(dump(msgspec.structs.replace(opened.manifest, scope=scope)))
    return folder


@pytest.fixture(scope="module")
def reference(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reference")
    parts = {}
    for seed, part in enumerate(("train", "validation", "test")):
        texts, labels = ordinary(600, 10 + seed)
        parts[part] = folder / f"{part}.parquet"
        pq.write_table(pa.table({"text": texts, "label": labels}), parts[part])
    profile = Profile(scripts={}, language="en", characters={}, tokens={}, total_tokens=0, imbalance=1.0)
    dataset = Dataset(task="single", labels=LABELS, **parts, rows={}, profile=profile, max_length=20, content="c")
    return reference_statistics(dataset, model, folder)


def look(
    tmp_path: Path, model: Path, reference: Path, texts: list[str], alpha: float = 0.001, version: str = "v1"
) -> DriftReport:
    opened = TextModel.load(model)
    log = PredictionLog(tmp_path, opened, version, Settings(prediction_burst=100_000))
    for start in range(0, len(texts), 50):
        some = texts[start : start + 50]
        answers = opened.predict(some)
        for number, answer in enumerate(answers):
            answer.id = f"{start + number}"
        log.add(some, answers, "client", Options())
    log.close()
    return monitor(reference, tmp_path, "v1", WatchSettings(alpha=alpha))


def test_the_reference_holds_no_text(reference: Path) -> None:
    table = pq.read_table(reference)
    assert table.num_rows == 1200
    assert "text" not in table.column_names
    assert b"garden" not in reference.read_bytes()


def test_unchanged_traffic_is_steady_and_its_accuracy_is_estimated(
    tmp_path: Path, model: Path, reference: Path
) -> None:
    report = look(tmp_path, model, reference, ordinary(800, 77)[0])
    assert (report.state, report.alarms) == ("steady", [])
    assert report.accepted_accuracy is not None
    assert report.estimated_accuracy is not None
    assert report.accepted_accuracy.value == 1.0
    assert report.estimated_accuracy.low <= 1.0 <= report.estimated_accuracy.high + 0.02


def test_a_tenth_of_other_texts_is_found_within_500_rows(tmp_path: Path, model: Path, reference: Path) -> None:
    report = look(tmp_path, model, reference, ordinary(450, 78)[0] + strange(50, 1))
    assert report.state == "drift"
    assert {"rarity", "unknown"} <= set(report.alarms)


def test_another_mix_of_labels_is_found(tmp_path: Path, model: Path, reference: Path) -> None:
    texts, labels = ordinary(1500, 79)
    mixed = [text for text, label in zip(texts, labels, strict=True) if label == "food"][:350]
    mixed += [text for text, label in zip(texts, labels, strict=True) if label != "food"][:150]
    report = look(tmp_path, model, reference, mixed)
    assert "label" in report.alarms
    assert report.labels["food"][1] == pytest.approx(0.7, abs=0.01)


def test_eight_rows_are_too_few_however_strange(tmp_path: Path, model: Path, reference: Path) -> None:
    report = look(tmp_path, model, reference, strange(8, 2))
    assert (report.state, report.rows, report.statistics) == ("too few", 8, [])


def test_one_text_said_a_thousand_times_counts_once(tmp_path: Path, model: Path, reference: Path) -> None:
    report = look(tmp_path, model, reference, ordinary(200, 80)[0] + ["where is my parcel?"] * 1000)
    assert (report.rows, report.state) == (1200, "steady")
    assert report.compared <= 201


def test_predictions_of_another_version_are_not_judged(tmp_path: Path, model: Path, reference: Path) -> None:
    report = look(tmp_path, model, reference, strange(300, 3), version="v0")
    assert (report.state, report.rows) == ("too few", 0)


def test_feedback_gives_the_live_accuracy_with_its_interval(tmp_path: Path, model: Path, reference: Path) -> None:
    told = [
        FeedbackRecord(datetime.now(UTC).timestamp(), str(number), "t", "food" if number < 5 else "sport", "v1", "c")
        for number in range(20)
    ]
    (tmp_path / "feedback-1.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in told))
    texts = [f"anna found the soup near the {place} at {hour}" for place in PLACES for hour in range(2)]
    report = look(tmp_path, model, reference, texts)
    assert report.feedback == 20
    assert report.feedback_accuracy is not None
    assert report.feedback_accuracy.value == pytest.approx(5 / 20)
    assert report.feedback_accuracy.low < 5 / 20 < report.feedback_accuracy.high


def test_of_several_labels_feedback_counts_the_answers_that_are_wholly_right(tmp_path: Path, reference: Path) -> None:
    records = tmp_path / "records"
    said: list[str | list[str]] = [["food", "sport"], ["sport", "food", "food"], ["sport"], "sport", []]
    asked = ["goal bread", "goal bread", "goal bread", "goal", "unknown"]
    with client(grams_folder(tmp_path / "model", task="multi"), records=str(records)) as service:
        answers = service.post("/predict", json={"texts": asked}).json()["predictions"]
        # A request for one label is no answer that could be found incomplete.
        answers += service.post("/predict", json={"texts": ["goal bread"], "top_k": 1}).json()["predictions"]
        for answer, text, label in zip(answers, [*asked, "goal bread"], [*said, "sport"], strict=True):
            told = {"id": answer["id"], "text": text, "label": label}
            assert service.post("/feedback", json=told).status_code == 200
    report = monitor(reference, records, "v1", WatchSettings())
    assert report.feedback == 6
    assert report.feedback_accuracy == proportion(4, 5)


def test_only_the_time_looked_at_counts(tmp_path: Path, model: Path, reference: Path) -> None:
    look(tmp_path, model, reference, ordinary(120, 81)[0])
    later = datetime.now(UTC) + timedelta(hours=1)
    assert monitor(reference, tmp_path, "v1", WatchSettings(), since=later).rows == 0


def test_a_line_that_was_cut_off_is_no_record(tmp_path: Path, model: Path, reference: Path) -> None:
    look(tmp_path, model, reference, ordinary(120, 82)[0])
    (file,) = tmp_path.glob("predictions-*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"time": 1.0, "id"')
    assert monitor(reference, tmp_path, "v1", WatchSettings()).rows == 120


def test_a_version_without_reference_is_told_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be watched, retrain it"):
        monitor(tmp_path / "reference.parquet", tmp_path, "v1", WatchSettings())
