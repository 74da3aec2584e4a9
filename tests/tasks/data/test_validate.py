"""Duplicates, conflicts, and what is compared with last time."""

import csv
import socket
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bentos.text_classifier.text import fold
from tasks.base.errors import InputError, PipelineError
from tasks.base.manifests import Checked
from tasks.base.settings import DataSettings, SourceSettings
from tasks.data.expectations import run_suite
from tasks.data.folding import add_fold, fold_expression
from tasks.data.ingest import ingest
from tasks.data.statistics import alike, near_equal_names
from tasks.data.validate import parameters_of, validate
from tasks.kinds.registry import KINDS

ROWS = [(f"text number {number}", "ab"[number % 2]) for number in range(60)]


def check(folder: Path, rows: list[tuple[str, str]], history: Path | None = None, **data: Any) -> Checked:
    folder.mkdir(exist_ok=True)
    with (folder / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    table = ingest(SourceSettings(source=str(folder / "rows.csv")), folder / "table", 13)
    return validate(table, DataSettings(**data), folder / "checked", history)


def kept(checked: Checked) -> dict[str, str]:
    table = pq.read_table(checked.path, filters=[("kept", "=", True)])
    return dict(zip(table["text"].to_pylist(), table["label"].to_pylist(), strict=True))


@pytest.fixture(scope="module")
def folding() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    add_fold(connection)
    return connection


@settings(max_examples=300, deadline=None)
@given(st.text(st.one_of(st.characters(max_codepoint=127), st.characters(exclude_categories=["Cs"]))))
@example("A\x0bB \x1c c\x85\u3000D\u00a0")
@example("\t\r\n")
def test_columns_fold_as_the_service_does(folding: duckdb.DuckDBPyConnection, text: str) -> None:
    found = folding.execute(f"SELECT {fold_expression('text')} FROM (SELECT ?::VARCHAR AS text)", [text]).fetchall()
    assert found[0][0] == fold(text)


def test_copies_are_kept_once_whatever_their_spelling(tmp_path: Path) -> None:
    checked = check(tmp_path, [*ROWS, ("TEXT  number １", "b"), ("text number 1 ", "b")])
    assert (checked.rows, checked.duplicates, checked.conflicts) == (62, 2, 0)
    assert len(kept(checked)) == 60
    assert checked.classes == {"a": 30, "b": 30}


@pytest.mark.parametrize(
    ("rule", "expected"), [("majority", {"twice a": "a"}), ("drop", {}), ("keep", {"twice a": "b", "tie": "b"})]
)
def test_one_text_under_two_labels(tmp_path: Path, rule: str, expected: dict[str, str]) -> None:
    rows = [("twice a", "a"), ("twice a", "a"), ("twice a", "b"), ("tie", "a"), ("tie", "b")]
    checked = check(tmp_path, [*ROWS, *rows], conflicts=rule)
    assert checked.conflicts == 2
    found = {text: label for text, label in kept(checked).items() if text in ("twice a", "tie")}
    assert found.keys() == expected.keys()
    assert rule == "keep" or found == expected


@pytest.mark.parametrize(
    ("first", "second", "shown"),
    [
        ("pos", "pos.", "'pos' and 'pos.'"),
        ("caf\u00e9", "cafe\u0301", "'cafe\\u0301' and 'café'"),
        ("1", "1.0", "'1' and '1.0'"),
        ("01", "1", "'01' and '1'"),
        ("a b", "a\u00a0b", "'a b' and 'a\\xa0b'"),
        ("ab", "a\u200bb", "'ab' and 'a\\u200bb'"),
        ("\u00c5", "\u212b", "'Å' and '\\u212b'"),
        ("file", "ﬁle", "'file' and '\\ufb01le'"),
    ],
)
def test_what_tells_nearly_equal_names_apart_is_visible(first: str, second: str, shown: str) -> None:
    assert alike(near_equal_names([first, second, "other", "C", "C++", "C#", "10"])) == shown


def test_near_equal_class_names_are_shown_and_stay_apart(tmp_path: Path) -> None:
    assert near_equal_names(["Not spam", "not-spam", "NOT_SPAM", "spam", "1.0", "10"]) == [
        ["NOT_SPAM", "Not spam", "not-spam"]
    ]
    checked = check(tmp_path, [*ROWS, *((f"other {n}", "A ") for n in range(5))])
    assert checked.near_equal_classes == [["A ", "a"]]
    assert checked.notes == [
        "column 'label': class names that differ only in case, width, normal form, spaces, - or _, a "
        "mark at the end or the spelling of a number stay different classes: "
        "'A ' and 'a'."
    ]


def test_what_changed_since_last_time_stops(tmp_path: Path) -> None:
    last = check(tmp_path / "last", [*ROWS, *((f"third {n}", "c") for n in range(5))]).statistics
    assert check(tmp_path / "same", ROWS + [(f"third {n}", "c") for n in range(9)], last).rows == 69
    with pytest.raises(InputError, match="classes that were there last time have no row now: 'c'"):
        check(tmp_path / "vanished", ROWS, last)
    with pytest.raises(InputError, match=r"the median text has 4\.\d\d times the characters that were accepted"):
        check(tmp_path / "long", [(text * 4, "abc"[n % 3]) for n, (text, _) in enumerate(ROWS)], last)
    with pytest.raises(InputError, match=r"100% of the texts are of another script than was accepted .*\(Han 100%\)"):
        check(tmp_path / "script", [(f"这部电影很好看的{n}号片", "abc"[n % 3]) for n in range(60)], last)
    assert check(tmp_path / "accepted", ROWS, last, accept_changes=True).rows == 60


def test_damaged_history_is_named(tmp_path: Path) -> None:
    (tmp_path / "history.json").write_text("{}")
    with pytest.raises(InputError, match=r"history\.json: the statistics of last time cannot be read"):
        check(tmp_path, ROWS, tmp_path / "history.json")


def test_an_own_test_table_may_be_small_and_of_one_class(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nx,a\n")
    table = ingest(SourceSettings(source=str(tmp_path / "a.csv")), tmp_path / "table", 13)
    assert validate(table, DataSettings(), tmp_path / "checked", trained_on=False).rows == 1


def test_every_expectation_is_reported_and_the_pages_do_not_grow(tmp_path: Path) -> None:
    first = check(tmp_path, ROWS)
    assert first.data_docs is not None
    assert len(first.expectations) == 16
    assert all(entry["success"] for entry in first.expectations)
    pages = len(list(first.data_docs.parent.rglob("*.html")))
    check(tmp_path, ROWS)
    assert len(list(first.data_docs.parent.rglob("*.html"))) == pages
    assert "text number" not in "".join(page.read_text() for page in first.data_docs.parent.rglob("*.html"))


def test_no_outbound_call_and_no_progress_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    calls = []
    monkeypatch.setattr(socket.socket, "connect", lambda *args: calls.append(args))
    check(tmp_path, ROWS)
    assert calls == []
    assert capfd.readouterr() == ("", "")


def test_an_expectation_that_cannot_be_computed_fails_loudly(tmp_path: Path) -> None:
    import pandas as pd

    frames = {name: pd.DataFrame({"other": [1]}) for name in ("rows", "table", "classes")}
    with pytest.raises(PipelineError, match=r"The expectation .* failed: Error: The column .* does not exist"):
        run_suite(frames, parameters_of(KINDS["single"], DataSettings()), {"text": "t", "label": "l"}, tmp_path)
