"""What bad input gets: one message with what is wrong, where and what to do, and nothing half-written."""

import errno
import gzip
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tasks.base.errors import InputError, PipelineError
from tasks.base.manifests import Checked, Dataset, Table
from tasks.base.settings import DataSettings, SourceSettings, TrainSettings
from tasks.data.ingest import ingest
from tasks.data.preprocess import preprocess
from tasks.data.validate import validate

CSV = "text,label\n" + "".join(f"text number {number},{'ab'[number % 2]}\n" for number in range(60))


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content)
    return path


def read(path: Path | str, **settings: Any) -> Table:
    folder = Path(path).parent if Path(path).is_absolute() else Path.cwd()
    return ingest(SourceSettings(source=str(path), **settings), folder / "stage", 13)


def refusal(path: Path, **settings: Any) -> str:
    with pytest.raises(InputError) as refused:
        read(path, **settings)
    assert list((path.parent / "stage").iterdir()) == []
    return str(refused.value).replace(f"{path.parent}/", "")


def check(path: Path, **settings: Any) -> Checked:
    return validate(read(path), DataSettings(**settings), path.parent / "checked")


def unfit(path: Path, **settings: Any) -> str:
    with pytest.raises(InputError) as refused:
        check(path, **settings)
    assert {entry.name for entry in (path.parent / "checked").iterdir()} == {"quarantine.csv", "data_docs"}
    return str(refused.value).replace(f"{path.parent}/", "")


def split(path: Path, **settings: Any) -> Dataset:
    checked = check(path, **settings)
    return preprocess(checked, None, None, DataSettings(**settings), TrainSettings(), 13, path.parent / "split")


NO_HEADER = "If its first line is already a row, put a header such as text,label above it."


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "a.csv is empty; it needs a header such as text,label and one row a line."),
        ("a.csv", "\n  \n", "a.csv is empty; it needs a header such as text,label and one row a line."),
        ("a.csv", "text,label\n", "a.csv: its columns are named, but there is no row."),
        (
            "a.csv",
            "text~label\nfine~pos\n",
            "a.csv: only one column was found. Its columns are 'text~label'. Separate the columns with a comma, tab, "
            "semicolon or |, and name them in the first line.",
        ),
        (
            "a.csv",
            "I love it,pos\nI hate it,neg\n",
            "a.csv: no column looks like the text. Its columns are 'I love it', 'pos'. Name it with --text-column. "
            + NO_HEADER,
        ),
        (
            "a.csv",
            "id,text,date\n1,a,b\n",
            "a.csv: no column looks like the label. Its columns are 'id', 'text', 'date'. Name it with --label-column. "
            + NO_HEADER,
        ),
        ("a.csv", "text,label,Label\na,b,c\n", "a.csv: column 'label' stands 2 times; rename all but one."),
        ("a.parquet", CSV, "a.parquet is no Parquet file, or its beginning is lost; copy it again."),
        (
            "a.jsonl",
            CSV,
            'a.jsonl: holds no JSON object such as {"text": "…", "label": "…"}. '
            "Line 1: not JSON: Expecting value at character 1.",
        ),
        (
            "a.json",
            '[{"text": "a", "label": "b"}, {"text": "c", "la',
            "a.json: the JSON array breaks off or is damaged after object 1: Unterminated string starting at.",
        ),
        ("a.jsonl", "[1, 2]", 'a.jsonl: holds no JSON object such as {"text": "…", "label": "…"}.'),
        ("a.csv", gzip.compress(CSV.encode(), mtime=0)[:-20], "a.csv cannot be read: {cut}."),
        ("a.csv", zstandard.compress(CSV.encode())[:-20], "a.csv cannot be read: {cut}."),
        ("a.csv", gzip.compress(b"", mtime=0)[:15], "a.csv cannot be read: {cut}."),
        ("a.csv", b"PK\x03\x04junk", "a.csv is a zip archive and no workbook; unpack it, or save its table as CSV."),
        ("a.csv", b"\x89PNG\r\n", "a.csv is an image."),
    ],
)
def test_file_that_is_no_table(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    cut = "its compressed data is cut off; copy or download it again"
    assert refusal(write(tmp_path / name, content)) == message.replace("{cut}", cut)


def test_missing_column_lists_the_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", CSV)
    assert refusal(path, label_column="mood") == "a.csv: column 'mood' is missing. Its columns are 'text', 'label'."


def test_same_column_twice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", CSV)
    message = "a.csv: column 'text' cannot be both text and label; name another column."
    assert refusal(path, text_column="text", label_column="text") == message


def test_extra_column_with_a_name_of_the_pipeline(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The extra column 'line' has a name that the pipeline uses itself; rename it"):
        read(write(tmp_path / "a.csv", CSV), extra_columns=("line",))


@pytest.mark.parametrize("keep", [0.5, 0.98])
def test_cut_parquet(tmp_path: Path, keep: float) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(1000)], "label": ["a", "b"] * 500}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    assert refusal(path) == "a.parquet: the Parquet file is cut off or damaged; copy it again."


def test_damaged_parquet_page(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"text {n * 7919 % 1009}" for n in range(5000)]
    pq.write_table(pa.table({"text": texts, "label": ["a", "b"] * 2500}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[60:600] = b"\xff" * 540
    path.write_bytes(content)
    assert refusal(path) == "a.parquet, after row 0: the Parquet file is damaged; copy it again."


def test_parquet_named_csv_is_read(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"], "label": ["a"]}), tmp_path / "a.csv")
    assert read(tmp_path / "a.csv").rows == 1


def test_folder_with_one_bad_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.csv", CSV)
    write(tmp_path / "in" / "b.csv", b"\x89PNG\r\n\x1a\n")
    write(tmp_path / "in" / ".c.csv", b"\x00")
    assert refusal(tmp_path / "in") == "in/b.csv is an image."


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    assert refusal(tmp_path / "in").endswith("there is no such file, or the folder holds none; check the path.")


def test_ragged_rows_are_set_aside_by_line(tmp_path: Path) -> None:
    table = read(write(tmp_path / "a.csv", CSV + "one\nx,y,z\n\n   \n"))
    assert table.quarantined == {"1 field where the header has 2": 1, "3 fields where the header has 2": 1}
    assert table.rows == 60


def test_quote_that_is_never_closed_costs_one_row(tmp_path: Path) -> None:
    lines = CSV.splitlines()
    lines[10] = '"' + lines[10]
    table = read(write(tmp_path / "a.csv", "\n".join(lines)))
    assert table.rows == 59
    assert table.quarantine is not None
    assert table.quarantine.read_text().splitlines()[1].split(",", 1)[1] == (
        '11,"a quote is opened and not closed, which would swallow the rows up to line 61","""text number 9,b"'
    )


def test_two_stray_quotes_that_swallow_rows_between_them(tmp_path: Path) -> None:
    lines = CSV.splitlines()
    lines[10] = '"' + lines[10]
    lines[20] = 'text, number 19",b'
    table = read(write(tmp_path / "a.csv", "\n".join(lines)))
    assert table.rows == 58
    texts = pq.read_table(table.path)["text"].to_pylist()
    assert "text number 12" in texts
    assert not any("\n" in text for text in texts)


def test_stray_quote_inside_a_quoted_field(tmp_path: Path) -> None:
    table = read(write(tmp_path / "a.csv", CSV + '"a 5" pipe",a\n'))
    assert table.quarantined == {"a quote stands inside a quoted field; double it": 1}
    assert table.rows == 60


def test_bad_json_lines_are_set_aside(tmp_path: Path) -> None:
    good = json.dumps({"text": "x", "label": "a"})
    table = read(
        write(tmp_path / "a.jsonl", f'{good}\n{{"text": "cut\n\n[1]\n{good}\n{{"text": "y", "label": {{}}}}\n')
    )
    assert table.rows == 2
    assert sorted(table.quarantined.items()) == [
        ("an object, where a label is expected", 1),
        ("not JSON: Invalid control character at at character 14", 1),
        ("not a JSON object", 1),
    ]


def test_nul_bytes_and_controls_are_kept_and_fold_away(tmp_path: Path) -> None:
    checked = check(write(tmp_path / "a.csv", CSV + "text\0 number 1,b\n"))
    assert (checked.rows, checked.duplicates) == (61, 1)


def test_text_of_fifty_megabytes_is_set_aside(tmp_path: Path) -> None:
    checked = check(write(tmp_path / "a.csv", CSV + "x" * 50_000_000 + ",a\n"))
    assert checked.quarantined == {"text longer than 100,000 characters": 1}
    assert checked.quarantine is not None
    assert checked.quarantine.stat().st_size < 1000


def test_texts_that_are_numbers_lists_or_null(tmp_path: Path) -> None:
    entries = [{"text": n, "label": n % 2} for n in range(60)] + [
        {"text": ["a"], "label": 1},
        {"text": None, "label": 1},
    ]
    checked = check(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, entries))))
    assert checked.rows == 60
    assert checked.classes == {"0": 30, "1": 30}
    assert checked.quarantined == {"a list or an object, where a text is expected": 1, "blank text": 1}


def test_one_row(tmp_path: Path) -> None:
    assert unfit(write(tmp_path / "a.csv", "text,label\nx,a\n")) == (
        "The data is not fit to train on (rule 'enough rows'): only 1 rows were read, where 20 are needed. Give more "
        "rows, or lower --data.min-rows. (3 more rules are broken.) The bad rows: checked/quarantine.csv"
    )


def test_one_class(tmp_path: Path) -> None:
    assert unfit(write(tmp_path / "a.csv", CSV.replace(",b", ",a"))) == (
        "The data is not fit to train on (rule 'more than one class'): column 'label' holds only the class 'a'; at "
        "least 2 classes are needed. Add rows of others, or name another column with --label-column. "
        "(1 more rules are broken.) The bad rows: checked/quarantine.csv"
    )


def test_every_row_its_own_class(tmp_path: Path) -> None:
    content = "text,label\n" + "".join(f"text {n},class {n}\n" for n in range(60))
    assert unfit(write(tmp_path / "a.csv", content)) == (
        "The data is not fit to train on (rule 'classes of several rows'): column 'label': of 60 classes only 0 have 3 "
        "rows or more, where 2 must. Does the column hold class names? Name another with --label-column. "
        "The bad rows: checked/quarantine.csv"
    )


def test_all_labels_blank(tmp_path: Path) -> None:
    content = "review,mood\n" + "".join(f"text {n},\n" for n in range(60))
    assert unfit(write(tmp_path / "a.csv", content)).startswith(
        "The data is not fit to train on (rule 'labels given'): column 'mood': 100.0 % of the labels are missing, "
        "where 10% may be. Fill them, or name another column with --label-column."
    )


def test_blank_texts_above_the_limit(tmp_path: Path) -> None:
    content = CSV + " ,a\n\u200b,b\n\u3000,a\n,a\n"
    assert unfit(write(tmp_path / "a.csv", content)).startswith(
        "The data is not fit to train on (rule 'texts filled'): column 'text': 6.2 % of the texts are blank, where 5% "
        "may be. Fill them, name another column with --text-column, or raise --data.blank-share."
    )


def test_bad_rows_above_the_limit(tmp_path: Path) -> None:
    assert unfit(write(tmp_path / "a.csv", CSV + "a,b,c\n" * 10)).startswith(
        "The data is not fit to train on (rule 'few bad rows'): 14.3% of the rows are bad, where 10% may be; most "
        "often: 3 fields where the header has 2. Mend them, or raise --data.quarantine-share."
    )


def test_class_with_one_row_is_named_and_left_out(tmp_path: Path) -> None:
    dataset = split(write(tmp_path / "a.csv", CSV + "rare one,z/1\n"))
    assert dataset.labels == ["a", "b"]
    assert dataset.notes == ["Left out, fewer than 3 rows: 'z/1'"]


def test_class_with_one_row_can_be_refused(tmp_path: Path) -> None:
    message = "Classes with fewer than 3 rows: 'z'. Add rows, or leave them out with --data.rare-classes drop."
    with pytest.raises(InputError) as refused:
        split(write(tmp_path / "a.csv", CSV + "rare one,z\n"), rare_classes="refuse")
    assert str(refused.value) == message


def test_odd_class_names_come_through_whole(tmp_path: Path) -> None:
    names = ["a/b", "line\nbreak", "<b>&amp;", "=HYPERLINK(1)", "x" * 300, "'quoted'", "01", "1"]
    content = "\n".join(json.dumps({"text": f"{name} {n}", "label": name}) for n in range(5) for name in names)
    assert split(write(tmp_path / "a.jsonl", content)).labels == sorted(names)


def test_memory_that_is_no_size(tmp_path: Path) -> None:
    message = "memory: 'lots' is no size; write it like 2GB or 512MB."
    assert refusal(write(tmp_path / "a.csv", CSV), memory="lots") == message


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(pq.ParquetWriter, "write_batch", full)
    with pytest.raises(PipelineError) as failed:
        read(write(tmp_path / "a.csv", CSV))
    stage = tmp_path / "stage"
    assert str(failed.value) == (
        f"{stage} cannot be written: No space left on device. Free some space or check the permissions."
    )
    assert list(stage.iterdir()) == []


def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "stage" / ".work-killed").mkdir(parents=True)
    read(write(tmp_path / "a.csv", CSV))
    assert sorted(path.name for path in (tmp_path / "stage").iterdir()) == ["quarantine.csv", "table.parquet"]


def test_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> str:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr("tempfile.mkdtemp", forbidden)
    with pytest.raises(PipelineError, match="stage cannot be written: Permission denied"):
        read(write(tmp_path / "a.csv", CSV))


def test_database_faults(tmp_path: Path) -> None:
    missing = f"sqlite:///{tmp_path}/none.db"
    with pytest.raises(InputError, match="a database needs --query, such as 'SELECT text, label FROM reviews'"):
        ingest(SourceSettings(source=missing), tmp_path / "stage", 13)
    with pytest.raises(InputError, match=r"none\.db: there is no such file; check the path"):
        ingest(SourceSettings(source=missing, query="SELECT 1"), tmp_path / "stage", 13)
    write(tmp_path / "none.db", b"")
    with pytest.raises(InputError, match=r"none\.db: the query failed: no such table: r"):
        ingest(SourceSettings(source=missing, query="SELECT * FROM r"), tmp_path / "stage", 13)
