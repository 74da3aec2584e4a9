"""What is said of drift that the same rows cannot mend."""

import csv
from pathlib import Path

import msgspec
import pytest

from bentos.text_classifier.prediction_log import PredictionRecord
from tasks.watching.drift.history import remember
from tasks.watching.drift.labelling import TO_LABEL, advice
from tasks.watching.drift.report import DriftReport, StatisticResult

TAG = "text_classifier:v1"


def record(number: int, text: str | None, score: float | None, in_scope: bool | None, version: str = "v1") -> bytes:
    seen = {
        "characters": 1, "words": 1, "script": "Latin", "capitals": 0.0, "digits": 0.0, "marks": 0.0, "ending": "",
        "rarity": None, "unknown": None, "sketch": "",
    }  # fmt: skip
    told = {"time": 1.0, "id": str(number), "version": version, "label": "food", "client": "a"}
    own = {"hash": str(number), "text": text, "score": score, "in_scope": in_scope}
    return msgspec.json.encode(msgspec.convert(seen | told | own, PredictionRecord)) + b"\n"


def look(state: Path, found: str = "drift", version: str = "v1") -> None:
    alarm = StatisticResult(name="script", reference=None, live=None, p=0.0, corrected=0.0, alarm=found == "drift")
    report = DriftReport.model_validate(
        {
            "state": found, "version": version, "alpha": 0.001, "rows": 5, "compared": 5, "reference_rows": 9,
            "since": None, "until": None, "statistics": [alarm],
        }
    )  # fmt: skip
    remember(report, state / "drift")


def tell(state: Path, *records: bytes) -> None:
    (state / "records").mkdir(parents=True)
    (state / "records" / "predictions-1.jsonl").write_bytes(b"".join(records))


def test_texts_are_written_the_least_known_and_least_sure_first(tmp_path: Path) -> None:
    look(tmp_path)
    tell(
        tmp_path,
        record(1, "sure", 0.9, True),
        record(2, "unsure", 0.4, True),
        record(3, "=unknown", 0.8, False),
        record(3, "=unknown", 0.8, False),
        record(4, None, 0.1, True),
        record(5, "of another version", 0.1, True, "v2"),
        record(6, "with no scope", None, None),
    )
    said = list(advice(tmp_path, TAG))
    assert said[0].startswith("The alarm stays: Live traffic differs")
    assert said[-1] == (
        f"Label these 4 live texts first, the least known and least sure ones on top: {tmp_path / 'drift' / TO_LABEL}"
    )
    with (tmp_path / "drift" / TO_LABEL).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["text"] for row in rows] == ["'=unknown", "unsure", "sure", "with no scope"]
    assert rows[1] == {"text": "unsure", "answer": "food", "score": "0.4"}


def test_where_no_texts_are_recorded_that_is_said(tmp_path: Path) -> None:
    look(tmp_path)
    tell(tmp_path, record(1, None, 0.9, True))
    assert "--serve.store-texts" in list(advice(tmp_path, TAG))[-1]
    assert not (tmp_path / "drift" / TO_LABEL).exists()


@pytest.mark.parametrize(("found", "version"), [("steady", "v1"), ("drift", "v0"), (None, "v1")])
def test_without_an_alarm_of_this_version_nothing_is_said_of_one(
    tmp_path: Path, found: str | None, version: str
) -> None:
    if found:
        look(tmp_path, found, version)
    assert list(advice(tmp_path, TAG)) == ["New labelled rows, feedback or other settings would make another one."]
