"""What a column of labels holds that are no plain names: read, refused with what to do, or said."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.base.errors import InputError
from tasks.base.manifests import Table
from tasks.base.settings import DataSettings, SourceSettings
from tasks.data.ingest import ingest
from tasks.data.validate import validate


def table_of(folder: Path, labels: list[Any], **settings: Any) -> Table:
    """The labels in JSON Lines, one a row."""
    path = folder / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"text {n}", "label": label}) + "\n" for n, label in enumerate(labels)))
    return ingest(SourceSettings(source=str(path), **settings), folder / "stage", 13)


def labels_of(table: Table) -> list[Any]:
    return pq.read_table(table.path)["label"].to_pylist()


def test_nan_is_missing_in_json(tmp_path: Path) -> None:
    assert labels_of(table_of(tmp_path, ["a", float("nan"), None, "b"])) == ["a", None, None, "b"]


@pytest.mark.parametrize("task", ["auto", "multi"])
def test_nan_is_missing_in_parquet_and_in_lists(tmp_path: Path, task: str) -> None:
    path = tmp_path / "a.parquet"
    labels: list[Any] = [["a", "b"], [np.nan], ["b"], [None]]
    pq.write_table(pa.Table.from_pandas(pd.DataFrame({"text": list("wxyz"), "label": labels})), path)
    table = ingest(SourceSettings(source=str(path), task=task), tmp_path / "stage", 13)
    assert (table.task, labels_of(table)) == ("multi", [["a", "b"], None, ["b"], None])
    pq.write_table(pa.table({"text": list("xyz"), "label": [1.5, float("nan"), None]}), path)
    assert labels_of(ingest(SourceSettings(source=str(path)), tmp_path / "stage", 13)) == ["1.5", None, None]


def test_a_list_with_a_missing_name_is_set_aside(tmp_path: Path) -> None:
    table = table_of(tmp_path, [["a", "b"], ["a", float("nan")], ["b"]])
    assert table.quarantined == {"a list of labels that holds something else": 1}


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (["['a', 'b']", "['a']"], "lists"),
        (["[0, 1]", "[1, 0]"], "lists"),
        (['["a"]', "[]"], "lists"),
        (['[{"start": 0, "end": 1, "label": "a"}]'] * 2, "spans or objects"),
        (['{"label": "a"}'] * 2, "spans or objects"),
    ],
)
@pytest.mark.parametrize("task", ["auto", "multi", "tagging"])
def test_lists_written_as_text_are_no_class_names(tmp_path: Path, values: list[str], what: str, task: str) -> None:
    with pytest.raises(InputError, match=rf"^column 'label' holds {what} written as text, such as .* no class names"):
        table_of(tmp_path, values * 30, task=task)


def test_names_in_brackets_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"such as '\[HAM\]'\. Are they names \(give --task single\), or lists\?"):
        table_of(tmp_path, ["[SPAM]", "[HAM]"] * 30)
    table = table_of(tmp_path, ["[SPAM]", "[HAM]"] * 30, task="single")
    assert set(labels_of(table)) == {"[SPAM]", "[HAM]"}
    assert "such as '[HAM]', which were taken as class names" in table.notes[0]


def test_a_list_written_as_text_among_names_is_set_aside(tmp_path: Path) -> None:
    table = table_of(tmp_path, ["a", "b", "[other]"] * 20 + ["['a', 'b']", "[]"])
    assert table.quarantined == {"a list written as text, where a class name is expected": 2}
    assert set(labels_of(table)) == {"a", "b", "[other]"}


@pytest.mark.parametrize("task", ["auto", "multi", "single"])
@pytest.mark.parametrize("vectors", [[[0, 1, 0], [1, 0, 0]], [[0.0, 1.0], [1.0, 1.0]], [[True, False]] * 2])
def test_vectors_of_0_and_1_are_no_class_names(tmp_path: Path, vectors: list[Any], task: str) -> None:
    with pytest.raises(InputError, match="column 'label' holds vectors of 0 and 1, a place for each class"):
        table_of(tmp_path, vectors * 20, task=task)


@pytest.mark.parametrize("task", ["auto", "single"])
def test_lists_of_one_name_each_are_single_labels(tmp_path: Path, task: str) -> None:
    table = table_of(tmp_path, [["a"], ["b"]] * 20, task=task)
    assert (table.task, labels_of(table)[:2]) == ("single", ["a", "b"])


def test_lists_of_one_name_or_none_are_asked_for(tmp_path: Path) -> None:
    labels = [["a"], ["b"], []] * 20
    with pytest.raises(InputError, match=r"20 that are empty\. Have those no label yet .*--task multi"):
        table_of(tmp_path, labels)
    assert labels_of(table_of(tmp_path, labels, task="single"))[:3] == ["a", "b", None]
    assert labels_of(table_of(tmp_path, labels, task="multi"))[:3] == [["a"], ["b"], []]


def test_one_name_is_wanted_where_a_list_has_several(tmp_path: Path) -> None:
    table = table_of(tmp_path, [["a"], ["b", "c"], "d"], task="single")
    assert table.quarantined == {"the label is a list of several names, where one is expected": 1}
    assert labels_of(table) == ["a", "d"]


def test_many_rows_without_a_label_are_said(tmp_path: Path) -> None:
    said = "rows have no label (an empty list says that none of the labels applies)"
    table = table_of(tmp_path, [["a", "b"], []] * 30)
    assert table.notes == [f"column 'label': 30 of 60 {said}"]
    assert table_of(tmp_path, [["a", "b"]] * 95 + [[]] * 5).notes == []


@pytest.mark.parametrize(
    ("column", "marks", "kept"),
    [
        ("answer", ["accept", "reject", "ignore"], 10),
        ("was_cancelled", [False, True, None], 20),
        ("status", ["submitted", "discarded", "rejected"], 20),
        ("outcome", ["accept", "reject", "ignore"], 30),
    ],
)
def test_rows_that_an_annotator_rejected_are_none(tmp_path: Path, column: str, marks: list[Any], kept: int) -> None:
    path = tmp_path / "a.jsonl"
    entries = [{"text": f"text {n}", "label": "ab"[n % 2], column: marks[n % 3]} for n in range(30)]
    path.write_text("\n".join(map(json.dumps, entries)))
    table = ingest(SourceSettings(source=str(path)), tmp_path / "stage", 13)
    assert (table.rows, table.quarantined) == (kept, {})
    said = f"{30 - kept} rows marked as rejected or skipped (column {column!r}) were left out"
    assert table.notes == ([said] if kept < 30 else [])
    extra = ingest(SourceSettings(source=str(path), extra_columns=(column,)), tmp_path / "stage", 13)
    assert extra.rows == 30


def test_class_names_in_the_metadata_are_said(tmp_path: Path) -> None:
    features = {"label": {"names": ["World", "Sports", "Business", "Tech"], "_type": "ClassLabel"}}
    schema = pa.schema(
        [("text", pa.string()), ("label", pa.int64())],
        {"huggingface": json.dumps({"info": {"features": features}})},
    )
    rows = {"text": [f"text {n}" for n in range(20)], "label": [n % 4 for n in range(20)]}
    pq.write_table(pa.table(rows, schema), tmp_path / "a.parquet")
    table = ingest(SourceSettings(source=str(tmp_path / "a.parquet")), tmp_path / "stage", 13)
    assert table.notes == [
        "column 'label' holds numbers, whose class names stand in the file's metadata (0 is 'World', 1 is 'Sports', "
        "2 is 'Business', …) and are not used; put the names into the column to train on them"
    ]


def test_lost_characters_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "half \\ud83d", "label": "a"}\n{"text": "caf\ufffd", "label": "a"}\n{"text": "x", "label": "b"}\n'
    )
    table = ingest(SourceSettings(source=str(path)), tmp_path / "stage", 13)
    assert table.rows == 3
    assert table.notes == ["2 rows hold U+FFFD or half a surrogate pair: characters were lost before they came here"]


def test_an_empty_list_is_a_missing_label_where_one_is_expected(tmp_path: Path) -> None:
    table = table_of(tmp_path, [["a"], ["b"]] * 30 + [[]], task="single")
    checked = validate(table, DataSettings(), tmp_path / "checked")
    assert checked.quarantined == {"no label": 1}
