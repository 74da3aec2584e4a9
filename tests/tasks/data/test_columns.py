"""Which columns are taken, and that nothing which might have been meant is passed over in silence."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tasks.base.errors import InputError
from tasks.base.manifests import Table
from tasks.base.settings import SourceSettings
from tasks.data.ingest import ingest
from tasks.data.sources import Reading, source_of


def read(folder: Path, header: str, rows: list[str], **settings: Any) -> Table:
    (folder / "a.csv").write_text("\n".join([header, *rows]) + "\n")
    return ingest(SourceSettings(source=str(folder / "a.csv"), **settings), folder / "stage", 13)


@pytest.mark.parametrize(
    "values",
    [
        [f"note {n}" for n in range(40)],
        [f"{n * 37 % 101 / 7:.3f}" for n in range(40)],
        [f"2024-01-{n + 1:02}" for n in range(30)],
        ["a sentence that is far too long to be the name of any class that people would choose"] * 40,
    ],
)
def test_the_only_other_column_is_asked_for_unless_it_looks_like_labels(tmp_path: Path, values: list[str]) -> None:
    rows = [f"text number {n},{value}" for n, value in enumerate(values)]
    with pytest.raises(InputError, match=r"no column looks like the label: its values do not repeat in 'foo'"):
        read(tmp_path, "text,foo", rows)
    assert read(tmp_path, "text,foo", rows, label_column="foo").label_column == "foo"


def test_the_only_other_column_is_taken_and_said_where_its_values_repeat(tmp_path: Path) -> None:
    table = read(tmp_path, "text,mood", [f"text {n},{'good' if n % 2 else 'bad'}" for n in range(40)])
    assert table.label_column == "mood"
    assert table.notes == ["column 'mood' was taken for the label; another one is named by --label-column"]


def test_a_column_of_numbers_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no column looks like the text: its values hold no letters in 'id'"):
        read(tmp_path, "id,label", [f"{n},{n % 2}" for n in range(40)])


def test_columns_that_look_like_text_too_are_named(tmp_path: Path) -> None:
    rows = [
        f"{n},How to mend a bicycle {n},It is broken since day {n},https://a.b/{n},{'ab'[n % 2]}" for n in range(40)
    ]
    table = read(tmp_path, "id,title,body,url,label", rows)
    assert table.text_column == "body"
    assert table.notes == [
        "column 'title' also looks like text and is not used; the text is 'body', another one is named by --text-column"
    ]
    assert read(tmp_path, "id,title,body,url,label", rows, extra_columns=("title",)).notes == []


def test_columns_that_look_like_text_too_are_named_in_chinese(tmp_path: Path) -> None:
    rows = [f"如何修理自行车{n},它从第{n}天起就坏了,{'ab'[n % 2]}" for n in range(40)]
    assert "column '标题' also looks like text" in read(tmp_path, "标题,内容,label", rows).notes[0]


def test_columns_that_look_like_labels_too_are_named(tmp_path: Path) -> None:
    rows = [f"text number {n},{'ab'[n % 2]},{'xyz'[n % 3]},{n}" for n in range(40)]
    table = read(tmp_path, "text,sentiment,topic,score", rows)
    assert table.notes == [
        "column 'topic' also looks like a label and is not used; the label is 'sentiment', another one is named by "
        "--label-column"
    ]
    assert read(tmp_path, "text,label,topic,score", rows).notes == []


def test_a_database_asked_for_texts_alone_needs_no_label(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE r (body TEXT)")
        connection.executemany("INSERT INTO r VALUES (?)", [("a",), ("b",)])
    connection.close()
    settings = SourceSettings(source=f"sqlite:///{tmp_path}/a.db", query="SELECT * FROM r")
    (batch,) = source_of(settings.source).read(Reading(settings, tmp_path, labelled=False))
    assert batch["text"].to_pylist() == ["a", "b"]
