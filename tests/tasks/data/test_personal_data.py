"""Personal data at ingest, and a person forgotten afterwards."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bentos.text_classifier.manifest import SEALED
from bentos.text_classifier.personal_data import Policy
from tasks.base.errors import InputError
from tasks.base.manifests import Table
from tasks.base.settings import SourceSettings
from tasks.data.ingest import ingest
from tasks.data.personal_data import keyed_content, redactor
from tasks.data.sealed_files import MAGIC
from tasks.watching.forget import forget

ROWS = [
    ("write to ann@mail.example today", "contact"),
    ("nothing to see", "other"),
    ("ANN@mail.example wrote", "contact"),
    (f"ann@mail.example {'x' * 10}", ""),
]


def read(folder: Path, policy: Policy) -> Table:
    folder.mkdir()
    source = folder / "rows.csv"
    source.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS))
    return ingest(SourceSettings(source=str(source)), folder / policy, 1, redactor(policy, folder))


def texts(table: Table) -> list[str]:
    return pq.read_table(table.path)["text"].to_pylist()


def test_keep_changes_nothing(tmp_path: Path) -> None:
    assert redactor("keep", tmp_path) is None
    assert texts(read(tmp_path / "x", "keep")) == [text for text, _ in ROWS]


def test_mask_and_hash_leave_no_address_in_any_file(tmp_path: Path) -> None:
    masked, hashed = read(tmp_path / "a", "mask"), read(tmp_path / "b", "hash")
    assert texts(masked)[:3] == ["write to [email] today", "nothing to see", "[email] wrote"]
    first, _, third, _ = texts(hashed)
    assert first.split()[2] == third.split()[0] != "[email]"
    for table in (masked, hashed):
        for file in table.path.parent.rglob("*"):
            assert b"mail.example" not in file.read_bytes().lower()


def test_drop_sets_the_rows_aside_without_their_data(tmp_path: Path) -> None:
    table = read(tmp_path / "a", "drop")
    assert texts(table) == ["nothing to see"]
    assert table.quarantined == {"personal data": 3}
    assert table.quarantine
    assert "mail.example" not in table.quarantine.read_text().lower()


def test_spans_are_not_moved(tmp_path: Path) -> None:
    source = tmp_path / "rows.jsonl"
    row = {"text": "ann@mail.example met Bob", "label": [{"start": 21, "end": 24, "label": "person"}]}
    source.write_text((json.dumps(row) + "\n") * 3)
    with pytest.raises(InputError, match=r"would move the spans of a tagging table: choose drop or keep"):
        ingest(SourceSettings(source=str(source), task="tagging"), tmp_path / "t", 1, redactor("mask", tmp_path))


def test_a_person_is_forgotten_and_the_versions_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    state = tmp_path / "state"
    stage = state / "stages" / "preprocess-1"
    stage.mkdir(parents=True)
    (state / "records").mkdir()
    rows = pa.table({"text": ["Ann@mail.example wrote", "other", None], "target": [1, 0, 0]})
    pq.write_table(rows, stage / "train.parquet")
    (stage / "manifest.json").write_text(json.dumps({"content": "ab" * 32, "notes": ["seen: ann@mail.example"]}))
    (state / "records" / "feedback-1.jsonl").write_text('{"text": "by ann@mail.example"}\n{"text": "kept"}\n')
    (state / "records" / "live.db").write_bytes(b"\x00\xffann@mail.example\x00")
    for version, data in (("v1", "ab" * 32), ("v2", "cd" * 32), ("v3", keyed_content("ab" * 32, state))):
        bento = tmp_path / "bentoml" / "bentos" / "text_classifier" / version
        bento.mkdir(parents=True)
        (bento / "bento.yaml").write_text(f"labels:\n  data: '{data[:63]}'\n")

    done = forget(["ann@mail.example"], state)
    assert done.rows == {"records/feedback-1.jsonl": 1, "stages/preprocess-1/train.parquet": 1}
    assert done.blanked == ["stages/preprocess-1/manifest.json"]
    assert done.remaining == ["records/live.db"]
    assert done.versions == ["text_classifier:v1", "text_classifier:v3"]
    assert pq.read_table(stage / "train.parquet")["text"].to_pylist() == ["other", None]
    assert (state / "records" / "feedback-1.jsonl").read_text() == '{"text": "kept"}\n'
    (state / "records" / "live.db").unlink()
    again = forget(["ann@mail.example"], state)
    assert (again.rows, again.blanked, again.remaining) == ({}, [], [])
    with pytest.raises(InputError, match="too short to name one person"):
        forget(["an"], state)


def test_a_sealed_model_is_passed_by_and_sealed_rows_and_a_broken_table_are_named(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    (tmp_path / "reference.parquet").write_bytes(SEALED + b"a nonce and what nobody can read")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 cut short")
    (tmp_path / "rows.csv.sealed").write_bytes(MAGIC + b"rows that nobody can look into")
    done = forget(["ann@mail.example"], tmp_path)
    assert (done.rows, done.remaining) == ({}, ["rows.csv.sealed", "train.parquet"])
