"""A person forgotten: in every format that the state holds, completely, and without harm to what stands beside."""

import asyncio
import csv
import gzip
import html
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bentos.serving.model_folder import SEALED
from bentos.serving.records.records import RecordWriter
from tasks.base.errors import InputError
from tasks.data.personal_data import keyed_content
from tasks.data.sealed_files import MAGIC
from tasks.watching.forget import Forgotten, forget
from tasks.watching.forget.sought import Sought

VALUE = "ann@mail.example"


class Said(msgspec.Struct):
    text: str


def test_what_comes_while_and_after_a_person_is_forgotten_is_kept(tmp_path: Path) -> None:
    """The service holds its files of records while rows leave them."""
    count = 200

    async def scenario() -> None:
        writer = RecordWriter(tmp_path / "records", "feedback", 10_000_000, keep_all=True)
        for number in range(count):
            await writer.store(Said(f"by {VALUE}" if number == 0 else str(number)))
            if number % 20 == 0:
                await asyncio.to_thread(forget, [VALUE], tmp_path)
        writer.close()

    asyncio.run(scenario())
    lines = [line for file in (tmp_path / "records").glob("*.jsonl") for line in file.read_text().splitlines()]
    assert [json.loads(line)["text"] for line in lines] == [str(number) for number in range(1, count)]


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
    assert (done.rows, done.remaining) == ({}, [])
    assert done.unread.keys() == {"rows.csv.sealed", "train.parquet"}
    assert done.unread["rows.csv.sealed"] == "it is sealed"
    assert done.unread["train.parquet"].startswith("it is damaged: ")


def nothing_left(done: Forgotten) -> bool:
    return not done.remaining and not done.unread


def test_json_lines_are_cut_at_newlines_alone_and_stay_byte_for_byte(tmp_path: Path) -> None:
    kept = [
        b'{"text": "one\xe2\x80\xa8two\xc2\x85three"}\n',
        b'{"text":   "odd spacing, \xff no UTF-8"}\r\n',
        b'{"text": "not whole\n',
        b'{"text": "the last one"}',
    ]
    gone = [
        f'{{"text": "a\u2028b {VALUE}"}}\n'.encode(),
        b'{"text": "escaped: ann\\u0040mail.example"}\n',
        b'{"text": "all escaped: ' + b"".join(b"\\u%04x" % ord(one) for one in VALUE) + b'"}\n',
        b'{"' + VALUE.upper().encode() + b'": 1}\n',
        b'{"cut": "' + VALUE.encode() + b"\n",
        b'{"text": "\xff ' + VALUE.encode() + b'"}\n',
    ]
    file = tmp_path / "records.jsonl"
    file.write_bytes(b"".join(kept[:2] + gone + kept[2:]))
    done = forget([VALUE], tmp_path)
    assert done.rows == {"records.jsonl": len(gone)}
    assert file.read_bytes() == b"".join(kept)
    assert nothing_left(done)


def test_records_of_several_lines_leave_a_table_whole(tmp_path: Path) -> None:
    rows = [
        ["source", "line", "excerpt"],
        ["a.csv", "1", 'two\nlines, "quoted"\u2028'],
        ["a.csv", "2", f"first\nsecond {VALUE}\nthird"],
        ["a.csv", "3", "ann@\nmail.example stays: it is no address"],
        [f"{VALUE}.csv", "4", "x"],
        ["a.csv", "5", "the last"],
    ]
    file = tmp_path / "quarantine.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows(rows)
    done = forget([VALUE], tmp_path)
    assert done.rows == {"quarantine.csv": 2}
    with file.open(newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == [row for row in rows if VALUE not in "".join(row)]
    assert nothing_left(done)


COLUMNS: dict[str, tuple[pa.DataType, Any, Any]] = {
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), VALUE, "other"),
    "list": (pa.list_(pa.string()), ["x", VALUE], ["x"]),
    "binary": (pa.binary(), VALUE.encode(), b"\xff"),
    "large": (pa.large_string(), f"to {VALUE}", "y"),
    "view": (pa.string_view(), f"to {VALUE}", "y"),
    "struct": (pa.struct({"by": pa.string(), "n": pa.int64()}), {"by": VALUE, "n": 1}, {"by": "b", "n": 2}),
    "map": (pa.map_(pa.string(), pa.int64()), [(VALUE, 1)], [("x", 1)]),
    "nested": (pa.list_(pa.list_(pa.struct({"by": pa.string()}))), [[{"by": VALUE}]], [[], [{"by": None}]]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_leave_a_table_whatever_its_columns_are_made_of(tmp_path: Path, name: str) -> None:
    kind, gone, kept = COLUMNS[name]
    table = pa.table(
        {
            "n": pa.array([1, 2, 3, 4], pa.int8()),
            name: pa.array([kept, gone, None, kept], kind),
            "price": pa.array([Decimal(1)] * 4),
        }
    )
    file = tmp_path / "train.parquet"
    pq.write_table(table, file, row_group_size=2, compression="none")
    done = forget([VALUE], tmp_path)
    assert done.rows == {"train.parquet": 1}
    left, wanted = pq.read_table(file), table.to_pylist()
    assert (left.schema, left.to_pylist()) == (table.schema, [wanted[row] for row in (0, 2, 3)])
    assert VALUE.encode() not in file.read_bytes()
    assert nothing_left(done)


def test_a_table_of_whom_nobody_is_left_keeps_its_columns_and_metadata_is_blanked(tmp_path: Path) -> None:
    table = pa.table({"text": [VALUE]}).replace_schema_metadata({"made by": VALUE, "for": "all"})
    pq.write_table(table, tmp_path / "train.parquet")
    assert nothing_left(forget([VALUE], tmp_path))
    left = pq.read_table(tmp_path / "train.parquet")
    assert (left.num_rows, left.schema.names) == (0, ["text"])
    assert left.schema.metadata == {b"made by": b"[forgotten]", b"for": b"all"}


def test_a_number_that_names_a_person_is_found_where_it_is_stored_as_a_number(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [55512345, 155512345], "share": [0.5, 1.0]}), tmp_path / "train.parquet")
    (tmp_path / "notes.jsonl").write_text('{"id": 55512345}\n{"id": 1555123456}\n')
    (tmp_path / "notes.json").write_text('{"id": 55512345, "other": 1}')
    done = forget(["55512345"], tmp_path)
    assert pq.read_table(tmp_path / "train.parquet")["id"].to_pylist() == [155512345]
    assert json.loads((tmp_path / "notes.json").read_text()) == {"id": None, "other": 1}
    # Of a line its bytes are searched too, as one may be cut.
    assert (tmp_path / "notes.jsonl").read_text() == ""
    assert nothing_left(done)


def test_compressed_lines_and_arrays_are_rewritten(tmp_path: Path) -> None:
    (tmp_path / "more.jsonl.gz").write_bytes(gzip.compress(f'{{"by": "{VALUE}"}}\n{{"by": "b"}}\n'.encode()))
    (tmp_path / "more.html.gz").write_bytes(gzip.compress(f"<p>{VALUE}</p>".encode()))
    words, numbers = np.array(["x", f"to {VALUE}", "yy"]), np.arange(6.0).reshape(2, 3)
    np.savez_compressed(tmp_path / "arrays.npz", words=words, numbers=numbers, packed=np.array([VALUE.encode(), b"z"]))
    np.save(tmp_path / "words.npy", words)
    done = forget([VALUE], tmp_path)
    assert gzip.decompress((tmp_path / "more.jsonl.gz").read_bytes()) == b'{"by": "b"}\n'
    assert gzip.decompress((tmp_path / "more.html.gz").read_bytes()) == b"<p>[forgotten]</p>"
    with np.load(tmp_path / "arrays.npz") as arrays:
        assert arrays["words"].tolist() == ["x", "[forgotten]", "yy"]
        assert arrays["packed"].tolist() == [b"[forgotten]", b"z"]
        assert np.array_equal(arrays["numbers"], numbers)
    assert np.load(tmp_path / "words.npy").tolist() == ["x", "[forgotten]", "yy"]
    assert done.rows == {"more.jsonl.gz": 1}
    assert nothing_left(done)


def test_what_cannot_be_read_or_changed_is_named_with_its_reason(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", things=np.array([VALUE, None], object))
    np.savez(tmp_path / "header.npz", head=np.frombuffer(VALUE.encode(), np.uint8))
    pq.write_table(pa.table({VALUE: [1]}), tmp_path / "columns.parquet")
    (tmp_path / "rows.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd not looked into")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n' * 99)[:-9])
    (tmp_path / "wide.bin").write_bytes(VALUE.encode("utf-16-le"))
    (tmp_path / f"by {VALUE}.txt").write_text("nothing")
    (tmp_path / "here.json").write_text(json.dumps({"path": str(tmp_path / f"by {VALUE}.txt")}))
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    done = forget([VALUE], tmp_path)
    assert done.remaining == [
        f"by {VALUE}.txt",
        "columns.parquet",
        "header.npz",
        "here.json",
        "objects.npz",
        "wide.bin",
    ]
    assert done.unread.keys() == {"cut.jsonl.gz", "rows.jsonl.zst"}
    assert done.unread["rows.jsonl.zst"] == "it is compressed by zstd"
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.parametrize("value", ['O\'Neil & "Sons" <x>', "Zoë Müller", "用户张三", "a/b\\c", "ann@mail.example"])
def test_a_value_is_found_as_pages_and_reports_spell_it(tmp_path: Path, value: str) -> None:
    spelled = [
        value,
        value.upper(),
        html.escape(value),
        html.escape(html.escape(value)),
        json.dumps(value)[1:-1],
        json.dumps(json.dumps(value)[1:-1])[1:-1],
        html.escape(json.dumps(value)[1:-1]),
        value.replace(" ", "\u00a0"),
        value.replace(" ", "\n  "),
        "".join(one if one.isalnum() else f"&#{ord(one)};" for one in value),
        "".join(one if one.isalnum() else f"&#x{ord(one):X};" for one in value),
    ]
    for number, one in enumerate(spelled):
        (tmp_path / f"{number}.html").write_text(f"<p>{one}</p>é", "utf-8")
    done = forget([value], tmp_path)
    for number, one in enumerate(spelled):
        assert (tmp_path / f"{number}.html").read_text("utf-8") == "<p>[forgotten]</p>é", one
    assert nothing_left(done)


def test_what_the_patterns_miss_the_second_search_names(tmp_path: Path) -> None:
    (tmp_path / "odd.html").write_text("".join(f"&#{ord(one)};" for one in VALUE))
    assert forget([VALUE], tmp_path).remaining == ["odd.html"]


def test_a_report_with_bytes_that_are_no_text_is_blanked_around_them(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_bytes(b"<p>\xff\xfe " + VALUE.encode() + b" \x80</p>")
    done = forget([VALUE], tmp_path)
    assert (tmp_path / "report.html").read_bytes() == b"<p>\xff\xfe [forgotten] \x80</p>"
    assert (done.blanked, nothing_left(done)) == (["report.html"], True)


def test_a_log_that_a_process_writes_is_blanked_under_it(tmp_path: Path) -> None:
    log = tmp_path / "serving.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(f"before {VALUE} after\n".encode())
        done = forget([VALUE], tmp_path)
        writer.write(b"more\n")
    assert log.read_text() == f"before {'*' * len(VALUE)} after\nmore\n"
    assert (done.blanked, nothing_left(done)) == (["serving.log"], True)


def test_a_version_whose_model_holds_a_value_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    model = tmp_path / "bentoml/bentos/text_classifier/v1/src/bentos/text_classifier/model"
    model.mkdir(parents=True)
    (model.parent / "service.json").write_text("{}")
    (model.parents[3] / "bento.yaml").write_text("labels: {}\n")
    (tmp_path / "state").mkdir()
    assert forget([VALUE], tmp_path / "state").versions == []
    (model / "MODEL_CARD.md").write_text(f"worst: {VALUE}")
    assert forget([VALUE], tmp_path / "state").versions == ["text_classifier:v1"]


def test_strangers_stay() -> None:
    sought = Sought([VALUE, "Ann Li"])
    for text in ("ann@mailxexample", "anne@mail.example.org"[1:], "Ann, Li", "annli", "ann mail example"):
        assert not sought.holds(text), text
