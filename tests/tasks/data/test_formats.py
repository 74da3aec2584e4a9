"""Formats beside plain CSV, JSON and Parquet: each is read, or named for what it is with what to do."""

import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from tasks.base.errors import InputError
from tasks.base.manifests import Table
from tasks.base.settings import DataSettings, SourceSettings
from tasks.data.ingest import ingest
from tasks.data.sources.length import about_rows
from tasks.data.validate import validate

ROWS = [("fine film", "pos"), ("dull, long", "neg")] * 3
TABLE = pa.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]})


def read(path: Path, folder: Path, **settings: Any) -> Table:
    return ingest(SourceSettings(source=str(path), **settings), folder / "stage", 13)


def rows(table: Table) -> list[tuple[Any, Any]]:
    return [(row["text"], row["label"]) for row in pq.read_table(table.path).to_pylist()]


def refusal(path: Path, content: bytes, **settings: Any) -> str:
    path.write_bytes(content)
    with pytest.raises(InputError) as refused:
        read(path, path.parent, **settings)
    return str(refused.value).replace(f"{path.parent}/", "")


def workbook(sheets: dict[str, list[list[Any]]]) -> bytes:
    """An xlsx file as programs write it, with values in line; None leaves a cell out."""
    packed = io.BytesIO()
    names = list(sheets)
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    with zipfile.ZipFile(packed, "w") as archive:
        parts = "".join(
            f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{kind}.worksheet+xml"/>'
            for n, _ in enumerate(names, 1)
        )
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>{parts}</Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r0" '
            f'Type="{relations}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        listed = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(names, 1))
        archive.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{relations}"><sheets>{listed}</sheets></workbook>',
        )
        links = "".join(
            f'<Relationship Id="r{n}" Type="{relations}/worksheet" Target="worksheets/sheet{n}.xml"/>'
            for n, _ in enumerate(names, 1)
        )
        archive.writestr(
            "xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}/relationships">{links}</Relationships>'
        )
        for n, cells in enumerate(sheets.values(), 1):
            lines = "".join(
                f'<row r="{y}">'
                + "".join(_cell(f"{chr(64 + x)}{y}", value) for x, value in enumerate(line, 1))
                + "</row>"
                for y, line in enumerate(cells, 1)
            )
            archive.writestr(
                f"xl/worksheets/sheet{n}.xml",
                f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>',
            )
    return packed.getvalue()


def _cell(place: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<c r="{place}" t="b"><v>{int(value)}</v></c>'
    if isinstance(value, (int, float)):
        return f'<c r="{place}"><v>{value}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t>{escape(str(value))}</t></is></c>'


def ods(cells: list[list[str]]) -> bytes:
    packed = io.BytesIO()
    office = "urn:oasis:names:tc:opendocument:xmlns"
    lines = "".join(
        "<table:table-row>"
        + "".join(
            f'<table:table-cell office:value-type="string"><text:p>{escape(cell)}</text:p></table:table-cell>'
            for cell in line
        )
        + "</table:table-row>"
        for line in cells
    )
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr(
            "META-INF/manifest.xml",
            f'<manifest:manifest xmlns:manifest="{office}:manifest:1.0"><manifest:file-entry manifest:full-path="/" '
            'manifest:media-type="application/vnd.oasis.opendocument.spreadsheet"/></manifest:manifest>',
        )
        archive.writestr(
            "content.xml",
            f'<office:document-content xmlns:office="{office}:office:1.0" xmlns:table="{office}:table:1.0" '
            f'xmlns:text="{office}:text:1.0"><office:body><office:spreadsheet><table:table table:name="S">{lines}'
            "</table:table></office:spreadsheet></office:body></office:document-content>",
        )
    return packed.getvalue()


@pytest.mark.parametrize("name", ["a.xlsx", "no_suffix"])
def test_workbook(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(
        workbook({"Sheet1": [["text", "label"], *map(list, ROWS), [None, None], ["=x & y", 1]]})
    )
    table = read(tmp_path / name, tmp_path)
    assert rows(table) == [*ROWS, ("=x & y", "1")]
    assert pq.read_table(table.path)["line"].to_pylist() == [2, 3, 4, 5, 6, 7, 9]
    assert about_rows(SourceSettings(source=str(tmp_path / name))) is None


def test_workbook_whose_table_begins_elsewhere(tmp_path: Path) -> None:
    cells = [
        [],
        [None, None],
        [None, "text", "stars"],
        *([None, text, number] for number, (text, _) in enumerate(ROWS)),
    ]
    (tmp_path / "a.xlsx").write_bytes(gzip.compress(workbook({"Sheet1": cells})))
    table = read(tmp_path / "a.xlsx", tmp_path)
    assert rows(table) == [(text, str(number)) for number, (text, _) in enumerate(ROWS)]
    assert pq.read_table(table.path)["line"].to_pylist()[0] == 4


def test_sheet_of_a_workbook(tmp_path: Path) -> None:
    sheets = {"empty": [], "one": [["text", "label"], ["a", "x"]], "two": [["text", "label"], ["b", "y"]]}
    (tmp_path / "a.xlsx").write_bytes(workbook(sheets))
    first = read(tmp_path / "a.xlsx", tmp_path)
    assert rows(first) == [("a", "x")]
    assert first.notes == [f"{tmp_path}/a.xlsx: sheet 'one' was read; --sheet names another one of 'two'"]
    assert rows(read(tmp_path / "a.xlsx", tmp_path, sheet="two")) == [("b", "y")]
    with pytest.raises(InputError, match="there is no sheet 'three'; its sheets are 'empty', 'one', 'two'"):
        read(tmp_path / "a.xlsx", tmp_path, sheet="three")


def test_open_document_sheet(tmp_path: Path) -> None:
    (tmp_path / "a.ods").write_bytes(ods([["text", "label"], *map(list, ROWS)]))
    assert rows(read(tmp_path / "a.ods", tmp_path)) == ROWS


def test_feather_and_arrow(tmp_path: Path) -> None:
    pyarrow.feather.write_feather(TABLE, str(tmp_path / "a.feather"), compression="zstd")
    assert rows(read(tmp_path / "a.feather", tmp_path)) == ROWS
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, TABLE.schema) as stream:
        stream.write_table(TABLE, max_chunksize=2)
    assert rows(read(tmp_path / "a.arrow", tmp_path)) == ROWS
    whole = (tmp_path / "a.feather").read_bytes()
    cut = "a.feather: the Arrow file is cut off or damaged; copy it again."
    assert refusal(tmp_path / "a.feather", whole[:-30]) == cut


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "feather", "xlsx"])
def test_partition_folders_are_columns(tmp_path: Path, kind: str) -> None:
    for label, lang in (("pos", "en"), ("neg%2Fbad", "__HIVE_DEFAULT_PARTITION__")):
        folder = tmp_path / "in" / f"label={label}" / f"lang={lang}"
        folder.mkdir(parents=True)
        texts = [f"{label} text number {n}" for n in range(3)]
        path = folder / f"part.{kind}"
        if kind == "csv":
            path.write_text("text,n\n" + "".join(f"{text},1\n" for text in texts))
        elif kind == "jsonl":
            path.write_text("".join(json.dumps({"text": text, "n": 1}) + "\n" for text in texts))
        elif kind == "parquet":
            pq.write_table(pa.table({"text": texts, "n": [1, 1, 1]}), path)
        elif kind == "feather":
            pyarrow.feather.write_feather(pa.table({"text": texts, "n": [1, 1, 1]}), str(path))
        else:
            path.write_bytes(workbook({"S": [["text", "n"], *([text, 1] for text in texts)]}))
    table = read(tmp_path / "in", tmp_path, extra_columns=("lang",))
    assert table.label_column == "label"
    assert {(row["label"], row["lang"]) for row in pq.read_table(table.path).to_pylist()} == {
        ("pos", "en"),
        ("neg/bad", None),
    }
    assert rows(read(tmp_path / "in" / "*" / "*" / f"*.{kind}", tmp_path)) == rows(table)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7\nsize 123\n",
            "a Git LFS pointer, which stands for",
        ),
        (
            b"\n<!DOCTYPE html>\n<html><body>Sign in, please</body></html>",
            "a page or document (HTML or XML), such as the",
        ),
        (b"<?xml version='1.0'?><rows/>", "a page or document (HTML or XML), such as"),
        (b"FEA1\0\0\0\0", "a Feather file of version 1; write it again"),
        (b"\x80\x04\x95\x1a", "a Python pickle, which may run code when it is read; save"),
        (workbook({"S": [["text", "label"]]})[:-60], "a zip archive and no workbook; unpack it"),
        (b"\xd0\xcf\x11\xe0 a letter", "an old document and no workbook; unpack it"),
    ],
)
def test_a_file_is_named_for_what_it_is(tmp_path: Path, content: bytes, what: str) -> None:
    assert refusal(tmp_path / "a.csv", content).startswith(f"a.csv is {what}")


@pytest.mark.parametrize("before", ["\n", "\n  \n\n", "\ufeff\n", ",,\n", "sep=;\n", '"sep=;"\r\n', "\ufeffSEP=;\n"])
def test_what_stands_before_the_header_is_passed_over(tmp_path: Path, before: str) -> None:
    mark = ";" if "=" in before else ","
    content = "".join(
        f"{text}{mark}{label}\n" if mark not in text else f'"{text}"{mark}{label}\n' for text, label in ROWS
    )
    (tmp_path / "a.csv").write_text(f"{before}text{mark}label\n{content}x{mark}y{mark}z\n")
    table = read(tmp_path / "a.csv", tmp_path)
    assert rows(table) == ROWS
    assert table.quarantine is not None
    assert f",{before.count(chr(10)) + 8},3 fields" in table.quarantine.read_text()


def test_rows_of_delimiters_are_counted_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(
        "text,label\n" + "".join(f"a text, {label}\n" for _, label in ROWS) + ",\n" * 40 + ",,,\n , \n"
    )
    table = read(tmp_path / "a.csv", tmp_path)
    assert (table.rows, table.rows_read, table.quarantined) == (6, 6, {})
    assert table.notes == ["42 rows that hold nothing but delimiters were left out"]


@pytest.mark.parametrize("array", [False, True])
def test_keys_that_stand_twice_are_counted(tmp_path: Path, array: bool) -> None:
    good = '{"text": "say \\"text\\"", "label": "a"}'
    entries = [good, '{"text": "x", "text": "y", "label": "b"}', good]
    (tmp_path / "a.json").write_text(f"[{', '.join(entries)}]" if array else "\n".join(entries))
    table = read(tmp_path / "a.json", tmp_path)
    assert [text for text, _ in rows(table)] == ['say "text"', "y", 'say "text"']
    assert table.notes == ["1 objects hold a key twice, such as 'text'; the last value counts"]


LONG = 3_000_000
"""Characters of a row: more than a memory of 64 MB lets be held."""


@pytest.mark.parametrize("kind", ["line", "lines", "json", "conll"])
def test_a_row_longer_than_the_memory_allows_is_set_aside(tmp_path: Path, kind: str) -> None:
    if kind == "json":
        content = "".join(
            json.dumps({"text": text, "label": label}) + "\n" for text, label in [*ROWS, ("x" * LONG, "pos")]
        )
    elif kind == "conll":
        content = "Anna B-PER\n\nBob B-PER\n\n" * 3 + "x" * LONG + " O\n\n"
    else:
        long = "x" * LONG if kind == "line" else '"' + "x\n" * 900 + ("x" * 1000 + "\n") * (LONG // 1000) + '"'
        content = "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in ROWS) + f"{long},pos\n"
    path = tmp_path / ("a.conll" if kind == "conll" else "a.csv")
    path.write_text(content + ("" if kind == "conll" else content.splitlines()[1] + "\n"))
    table = read(path, tmp_path, memory="64MB")
    assert table.quarantine is not None
    found = table.quarantine.read_text()
    assert len(found) < 3_000_000
    assert table.rows == (6 if kind == "conll" else 7) or kind == "lines"
    assert kind == "conll" or "longer than the memory allows" in found


def test_an_object_of_an_array_longer_than_the_memory_allows(tmp_path: Path) -> None:
    content = json.dumps([{"text": "a", "label": "b"}, {"text": "x" * 2 * LONG, "label": "b"}]).encode()
    message = refusal(tmp_path / "a.json", content, memory="64MB")
    assert message.startswith("a.json: object 2 of the JSON array is longer than the memory allows; give more")


def test_dates_and_flags_in_a_workbook_are_texts(tmp_path: Path) -> None:
    (tmp_path / "a.xlsx").write_bytes(workbook({"S": [["text", "label"], ["a", True], ["b", False], ["c", 1.5]]}))
    assert rows(read(tmp_path / "a.xlsx", tmp_path)) == [("a", "true"), ("b", "false"), ("c", "1.5")]


def test_blank_cells_are_missing(tmp_path: Path) -> None:
    cells: list[list[Any]] = [["text", "label"], *([f"text {n}", "ab"[n % 2]] for n in range(40)), ["last", None]]
    (tmp_path / "a.xlsx").write_bytes(workbook({"S": cells}))
    checked = validate(read(tmp_path / "a.xlsx", tmp_path), DataSettings(), tmp_path / "checked")
    assert checked.quarantined == {"no label": 1}
