"""Personal data at ingest."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bentos.serving.records.personal_data import Policy
from tasks.base.errors import InputError
from tasks.base.manifests import Table
from tasks.base.settings import SourceSettings
from tasks.data.ingest import ingest
from tasks.data.personal_data import redactor

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
