"""What ingest reads, and that no value changes on the way."""

import bz2
import gzip
import io
import json
import lzma
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tasks.base.errors import InputError
from tasks.base.manifests import Table
from tasks.base.settings import SourceSettings
from tasks.data.ingest import ingest
from tasks.data.sources import docstrings

CSV = 'text,label\nfine film,pos\n"dull, long",neg\n'


def read(source: Path | str, folder: Path, **settings: Any) -> Table:
    return ingest(SourceSettings(source=str(source), **settings), folder / "stage", 13)


def rows(table: Table) -> list[tuple[Any, Any]]:
    return [(row["text"], row["label"]) for row in pq.read_table(table.path).to_pylist()]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_progress_is_told_by_the_rows_read(tmp_path: Path, name: str) -> None:
    content = "text,label\n" + "".join(f"film number {row},{'pos' if row % 2 else 'neg'}\n" for row in range(30_000))
    source = write(tmp_path / name, gzip.compress(content.encode()) if name.endswith("gz") else content)
    told: list[tuple[float, str]] = []
    ingest(SourceSettings(source=str(source)), tmp_path / "stage", 13, progress=lambda *one: told.append(one))
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert told[-1] == (0.8, "30,000 rows read, to be sorted and written")
    # Some batches are left to be read when the first ones are told of.
    assert 0.0 < shares[0] < 0.8


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.csv.gz", gzip.compress),
        ("a.csv.zst", zstandard.compress),
        ("a.csv.bz2", bz2.compress),
        ("a.csv.xz", lzma.compress),
        ("no_suffix", gzip.compress),
        ("a.csv", bytes),
    ],
)
def test_compression_is_told_by_content(tmp_path: Path, name: str, pack: Any) -> None:
    table = read(write(tmp_path / name, pack(CSV.encode())), tmp_path)
    assert rows(table) == [("fine film", "pos"), ("dull, long", "neg")]


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
def test_delimiter_is_told_by_content(tmp_path: Path, delimiter: str) -> None:
    text = f'text{delimiter}label\n"a{delimiter}b"{delimiter}x\nc{delimiter}y\n'
    assert rows(read(write(tmp_path / "a.csv", text), tmp_path)) == [(f"a{delimiter}b", "x"), ("c", "y")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "gb18030", "cp1251", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    texts = {
        "gb18030": ["这部电影非常好看", "我不喜欢这个结局", "演员表演得很自然", "音乐太吵了"],
        "cp1252": ["Die Straße ist schön", "Fünf Äpfel für müde Gäste", "Über den Flüssen", "Grüße aus Köln"],
    }.get(encoding, ["очень хороший фильм", "мне не понравился конец", "музыка слишком громкая", "актёры играют"])
    content = "text,label\n" + "".join(f"{text},a\n" for text in texts)
    table = read(write(tmp_path / "a.csv", content.encode(encoding)), tmp_path)
    assert rows(table) == [(text, "a") for text in texts]
    assumed = [note for note in table.notes if "assumed" in note]
    assert bool(assumed) == (encoding in ("utf-16-le", "gb18030", "cp1251", "cp1252"))


def test_first_foreign_byte_far_behind_the_beginning(tmp_path: Path) -> None:
    content = (
        b"text,label\n" + b"plain words,a\n" * 100_000 + "我们都喜欢这部电影因为它很好看,b\n".encode("gb18030") * 20
    )
    table = read(write(tmp_path / "a.csv", content), tmp_path)
    assert rows(table)[-1] == ("我们都喜欢这部电影因为它很好看", "b")


def test_few_foreign_bytes_cost_their_rows_only(tmp_path: Path) -> None:
    content = "text,label\n" + "schöne Grüße,a\n" * 100 + "sch"
    table = read(write(tmp_path / "a.csv", content.encode() + b"\xf6ne,b\n"), tmp_path)
    assert table.rows == 100
    assert table.quarantined == {"bytes that are not of the file's encoding": 1}


def test_embedded_newlines_mixed_line_ends_and_long_fields(tmp_path: Path) -> None:
    long = "x" * 300_000
    content = f'text,label\r\n"two\r\nlines",a\nplain,b\r"{long}",c\n'
    assert rows(read(write(tmp_path / "a.csv", content), tmp_path)) == [
        ("two\r\nlines", "a"),
        ("plain", "b"),
        (long, "c"),
    ]


def test_no_spelling_means_missing_and_class_names_stay(tmp_path: Path) -> None:
    names = ["NA", "null", "None", "nan", "NaN", "N/A", "01", "1.0", "True", "😀", "a/b", "<b>", "=1+1", "x" * 300]
    content = "text,label\n" + "".join(f"{name},{name}\n" for name in names)
    assert rows(read(write(tmp_path / "a.csv", content), tmp_path)) == [(name, name) for name in names]


def test_class_name_with_newline(tmp_path: Path) -> None:
    assert rows(read(write(tmp_path / "a.csv", 'text,label\nt,"a\nb"\n'), tmp_path)) == [("t", "a\nb")]


def test_tab_separated_quotes_are_marks_unless_they_enclose_a_field(tmp_path: Path) -> None:
    marks = 'text\tlabel\n"Great" film\ta\n"never closed\tb\n5" pipe\ta\n'
    assert [text for text, _ in rows(read(write(tmp_path / "a.tsv", marks), tmp_path))] == [
        '"Great" film', '"never closed', '5" pipe',
    ]  # fmt: skip
    fields = 'text\tlabel\n"two\nlines"\ta\n'
    assert rows(read(write(tmp_path / "b.tsv", fields), tmp_path)) == [("two\nlines", "a")]


def test_backslash_quotes(tmp_path: Path) -> None:
    content = 'text,label\n"he said \\"no\\", then left",a\n'
    assert rows(read(write(tmp_path / "a.csv", content), tmp_path)) == [('he said "no", then left', "a")]


@pytest.mark.parametrize("layout", ["lines", "array", "spread"])
def test_json(tmp_path: Path, layout: str) -> None:
    entries = [{"text": "a [b] {c}", "label": 1}, {"label": "null", "text": "über"}, {"text": None, "label": None}]
    content = {
        "lines": "\n".join(json.dumps(entry) for entry in entries),
        "array": json.dumps(entries),
        "spread": json.dumps(entries, indent=2),
    }[layout]
    table = read(write(tmp_path / "a.jsonl", content), tmp_path)
    assert rows(table) == [("a [b] {c}", "1"), ("über", "null"), (None, None)]


def test_json_array_over_many_pieces(tmp_path: Path) -> None:
    entries = [{"text": f"{'word ' * 40_000}{number}", "label": "ab"[number % 2]} for number in range(20)]
    table = read(write(tmp_path / "a.json", json.dumps(entries)), tmp_path)
    assert rows(table) == [(entry["text"], entry["label"]) for entry in entries]


def test_json_surrogates(tmp_path: Path) -> None:
    content = '{"text": "pair \\ud83d\\ude00", "label": "a"}\n{"text": "lone \\ud83d", "label": "a"}\n'
    assert rows(read(write(tmp_path / "a.jsonl", content), tmp_path)) == [("pair 😀", "a"), ("lone \ufffd", "a")]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([7, 5]), ["7", "5"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array(["01", "NA"]).dictionary_encode(), ["01", "NA"]),
        (pa.array([1.0, 2.5]), ["1.0", "2.5"]),
        (pa.array([None, "a"]), [None, "a"]),
    ],
)
def test_parquet_labels(tmp_path: Path, labels: pa.Array, expected: list[str | None]) -> None:
    pq.write_table(pa.table({"text": ["x", "y"], "label": labels}), tmp_path / "a.csv")
    assert [label for _, label in rows(read(tmp_path / "a.csv", tmp_path))] == expected


def test_folder_and_glob_skip_hidden_files(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    write(folder / "b.csv", CSV)
    write(folder / "deep" / "a.jsonl", '{"text": "deep", "label": "x"}')
    write(folder / ".hidden.csv", "junk")
    write(folder / "_SUCCESS", "")
    assert {text for text, _ in rows(read(folder, tmp_path))} == {"fine film", "dull, long", "deep"}
    assert read(folder / "*.csv", tmp_path).rows == 2
    assert pq.read_table(read(folder, tmp_path).path)["line"].to_pylist() == [2, 3, 1]


def test_standard_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(CSV.encode()))))
    table = read("-", tmp_path)
    assert table.rows == 2
    assert sorted(path.name for path in (tmp_path / "stage").iterdir()) == ["quarantine.csv", "table.parquet"]


def test_memory_file_system_url(tmp_path: Path) -> None:
    import fsspec

    with fsspec.open("memory://bucket/a.csv", "wb") as file:
        file.write(CSV.encode())  # type: ignore[union-attr]
    assert read("memory://bucket/a.csv", tmp_path).rows == 2


def test_database(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "a.db") as connection:
        connection.execute("CREATE TABLE r (body TEXT, stars INTEGER, lang TEXT)")
        connection.executemany("INSERT INTO r VALUES (?, ?, ?)", [("a", 1, "en"), ("b", 5, None)])
    connection.close()
    table = read(f"sqlite:///{tmp_path}/a.db", tmp_path, query="SELECT * FROM r", extra_columns=("lang",))
    assert rows(table) == [("a", "1"), ("b", "5")]
    assert pq.read_table(table.path)["lang"].to_pylist() == ["en", None]


@pytest.mark.parametrize(
    ("header", "text", "label"),
    [
        ("Review,Sentiment", "Review", "Sentiment"),
        ("id,TEXT,Class", "TEXT", "Class"),
        ("sentence,emotion word", "sentence", "emotion word"),
        ("评论,标签", "评论", "标签"),
        (" text , label ", "text ", "label "),
    ],
)
def test_columns_are_found_by_name(tmp_path: Path, header: str, text: str, label: str) -> None:
    row = ",".join("abc"[: header.count(",") + 1]) + "\n"
    table = read(write(tmp_path / "a.csv", f"{header}\n" + 2 * row), tmp_path)
    assert (table.text_column, table.label_column) == (text, label)


def test_oddly_named_columns_can_be_given(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", 'a "b",c\'d;e,😀\nx,y,z\n'.replace('a "b"', '"a ""b"""'))
    table = read(path, tmp_path, text_column='a "b"', label_column="c'd;e", extra_columns=("😀",))
    assert pq.read_table(table.path).to_pylist()[0] | {"source": ""} == {
        "text": "x", "label": "y", "source": "", "line": 2, "😀": "z",
    }  # fmt: skip


def test_multi_label_needs_recurring_parts(tmp_path: Path) -> None:
    separated = "text,label\n" + "".join(f"t,{label}\n" for label in ("a|b", "a", "b|c", "c|a", "b"))
    table = read(write(tmp_path / "a.csv", separated), tmp_path)
    assert (table.task, rows(table)[0][1]) == ("multi", ["a", "b"])
    names = "text;label\n" + "".join(f"t;{label}\n" for label in ("Home, Garden", "Toys", "Arts, Crafts", "Books"))
    table = read(write(tmp_path / "b.csv", names), tmp_path)
    assert (table.task, rows(table)[0][1]) == ("single", "Home, Garden")


def test_paired_class_names_stay_single(tmp_path: Path) -> None:
    pairs = [f"{topic}, {place}" for topic in ("Sports", "Politics") for place in ("US", "UK")]
    content = "text;label\n" + "".join(f"t;{pair}\n" for pair in pairs)
    assert read(write(tmp_path / "a.csv", content), tmp_path).task == "single"


def test_multi_label_lists(tmp_path: Path) -> None:
    content = "\n".join(json.dumps({"text": "t", "labels": labels}) for labels in (["b", "a", "b"], [], [1]))
    table = read(write(tmp_path / "a.jsonl", content), tmp_path)
    assert (table.task, [label for _, label in rows(table)]) == ("multi", [["a", "b"], [], ["1"]])


def test_conll(tmp_path: Path) -> None:
    content = "-DOCSTART- O\n\nAnna B-PER\nLee I-PER\nleft O\nParis B-LOC\n\nYes O\n\nI I-LOC\n"
    table = read(write(tmp_path / "a.txt", content), tmp_path)
    assert table.task == "tagging"
    assert rows(table)[0] == (
        "Anna Lee left Paris",
        [{"start": 0, "end": 8, "label": "PER"}, {"start": 14, "end": 19, "label": "LOC"}],
    )
    assert [label for _, label in rows(table)[1:]] == [[], [{"start": 0, "end": 1, "label": "LOC"}]]


def test_spans_move_with_the_cleaning_of_the_text(tmp_path: Path) -> None:
    text = "  😀 see  Cafe\u0301  Noir now"
    start = text.index("Cafe")
    entry = {"text": text, "entities": [{"start": start, "end": start + 11, "label": "BAR"}]}
    table = read(write(tmp_path / "a.jsonl", json.dumps(entry)), tmp_path)
    ((cleaned, spans),) = rows(table)
    assert cleaned == "😀 see Café Noir now"
    assert [cleaned[span["start"] : span["end"]] for span in spans] == ["Café Noir"]


@pytest.mark.parametrize(
    ("span", "reason"),
    [
        ({"start": 0, "end": 9, "label": "a"}, "a span lies outside of its text"),
        ({"start": 1, "end": 1, "label": "a"}, "a span lies outside of its text"),
        ({"start": "0", "end": 1, "label": "a"}, "a span needs whole numbers start and end, and a label"),
    ],
)
def test_bad_spans_are_set_aside(tmp_path: Path, span: dict[str, Any], reason: str) -> None:
    good = {"text": "good", "spans": [{"start": 0, "end": 4, "label": "a"}]}
    content = json.dumps(good) + "\n" + json.dumps({"text": "short", "spans": [span]})
    table = read(write(tmp_path / "a.jsonl", content), tmp_path)
    assert table.quarantined == {reason: 1}
    assert table.rows == 1


def test_rows_are_drawn_by_seed_whatever_their_order(tmp_path: Path) -> None:
    lines = [f"text number {number},{'ab'[number % 2]}\n" for number in range(500)]
    first = read(write(tmp_path / "a.csv", "text,label\n" + "".join(lines)), tmp_path, rows=100)
    drawn = set(rows(first))
    second = read(write(tmp_path / "b.csv", "text,label\n" + "".join(reversed(lines))), tmp_path, rows=100)
    assert set(rows(second)) == drawn
    assert 30 < sum(label == "a" for _, label in drawn) < 70
    assert first.notes == ["100 of 500 rows were drawn"]


def test_same_bytes_same_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", CSV)
    first = read(path, tmp_path).content
    assert read(path, tmp_path / "elsewhere").content == first
    assert read(write(path, CSV.replace("fine", "good")), tmp_path).content != first


def test_quarantine_names_file_line_reason_and_disarms_formulas(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", CSV + "=cmd(),x,y\n")
    table = read(path, tmp_path)
    assert table.quarantine is not None
    assert table.quarantine.read_text() == (
        f'source,line,reason,excerpt\n{path},4,3 fields where the header has 2,"\'=cmd(),x,y"\n'
    )


def test_a_file_whose_name_is_a_formula_is_disarmed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("=cmd().csv").write_text(CSV + "a,b,c\n")
    table = ingest(SourceSettings(source="=cmd().csv"), tmp_path / "out", 1)
    assert table.quarantine is not None
    assert table.quarantine.read_text().splitlines()[1].startswith("'=cmd().csv,4,")


def test_docstrings_are_deterministic_and_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docstrings, "_SOURCE_CHARACTERS", 90_000)
    first = ingest(SourceSettings(rows=300), tmp_path / "a", 13)
    assert rows(ingest(SourceSettings(rows=300), tmp_path / "b", 13)) == rows(first)
    assert first.rows == 300
    assert len({label for _, label in rows(first)}) >= 10
    assert all(4 <= len(text.split()) <= 60 for text, _ in rows(first))


def test_missing_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.csv: there is no such file, or the folder holds none"):
        read(tmp_path / "nowhere.csv", tmp_path)
