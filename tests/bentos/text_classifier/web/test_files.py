"""Files dropped on the page come back whole, in order, with the model's own answers."""

import codecs
import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.bentos.text_classifier.travel_desk import requests
from tests.bentos.text_classifier.web.conftest import LONGEST, Service

pytestmark = pytest.mark.browser

Visit = Callable[..., Page]


def give(page: Page, content: bytes, name: str = "requests.csv") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": "text/csv", "buffer": content})


def labelled(page: Page, folder: Path) -> str:
    """Runs the file on the page and gives the downloaded one."""
    page.click("#start")
    expect(page.locator("#download")).to_be_visible(timeout=30_000)
    with page.expect_download() as download:
        page.click("#download")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    content = path.read_bytes()
    assert content.startswith(codecs.BOM_UTF8)
    return content.decode("utf-8-sig")


def table(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


def test_rows_come_back_in_order_with_the_services_answers(visit: Visit, service: Service, tmp_path: Path) -> None:
    texts = [text.replace(" in ", ' in\n"lovely", ', 1) for text in requests(600, 7)[0]]
    rows = [["number", "text", "note"], *([str(index), text, "a;b"] for index, text in enumerate(texts))]
    buffer = io.StringIO(newline="")
    csv.writer(buffer).writerows(rows)
    page = visit()
    give(page, buffer.getvalue().encode())
    expect(page.locator("#file-name")).to_contain_text("rows: 600")
    expect(page.locator("#column option:checked")).to_have_text("text")
    back = table(labelled(page, tmp_path))
    assert [row[:3] for row in back] == rows
    assert back[0][3:] == ["predicted_label", "predicted_score", "in_scope"]
    answers = httpx.post(f"{service.url}/predict", json={"texts": texts}).json()["predictions"]
    assert [row[3] for row in back[1:]] == [answer["label"] for answer in answers]
    assert [float(row[4]) for row in back[1:]] == pytest.approx([answer["score"] for answer in answers], abs=1e-3)
    page.screenshot(path=tmp_path / "file.png", full_page=True)


def test_a_refused_row_gets_its_reason_and_spoils_no_other(visit: Visit, tmp_path: Path) -> None:
    texts = [*requests(20, 8)[0], "train " * LONGEST, *requests(20, 9)[0]]
    page = visit()
    give(page, ("text\n" + "\n".join(texts) + "\n").encode())
    back = table(labelled(page, tmp_path))
    header, rows = back[0], back[1:]
    assert header[-1] == "error"
    assert "characters" in rows[20][-1]
    assert rows[20][1] == ""
    assert all(row[1] in ("hotel", "train", "museum") and row[-1] == "" for row in rows[:20] + rows[21:])
    expect(page.locator("#progress-text")).to_contain_text("Refused: 1;")


def test_a_busy_service_loses_no_row(visit: Visit, tmp_path: Path) -> None:
    calls = []

    def busy_at_times(route: Route) -> None:
        calls.append(1)
        if len(calls) in (1, 3):
            route.fulfill(status=429, headers={"Retry-After": "1"}, body="{}")
        else:
            route.continue_()

    page = visit(before=lambda page: page.route("**/predict", busy_at_times))
    give(page, ("text\n" + "\n".join(requests(300, 10)[0])).encode())
    assert all(row[1] for row in table(labelled(page, tmp_path)))


def test_stopping_keeps_what_is_done(visit: Visit, tmp_path: Path) -> None:
    calls: list[Route] = []

    def some(route: Route) -> None:
        calls.append(route)
        if len(calls) <= 2:
            route.continue_()

    page = visit(before=lambda page: page.route("**/predict", some))
    give(page, ("text\n" + "\n".join(requests(600, 11)[0])).encode())
    page.click("#start")
    expect(page.locator("#progress-text")).to_contain_text("256 of 600")
    page.click("#cancel")
    expect(page.locator("#progress-text")).to_contain_text("Stopped after 256 of 600")
    with page.expect_download() as download:
        page.click("#download")
    download.value.save_as(tmp_path / "part.csv")
    back = table((tmp_path / "part.csv").read_text("utf-8-sig"))
    assert len(back) == 601
    assert sum(bool(row[1]) for row in back[1:]) == 256


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("utf-8-sig", "UTF-8"), ("utf-16", "UTF-16"), ("gb18030", "GB18030"), ("cp1252", "Windows-1252")],
)
def test_usual_encodings_are_read(visit: Visit, tmp_path: Path, encoding: str, shown: str) -> None:
    text = "un hôtel à Paris ÿ" if encoding == "cp1252" else "在巴黎订一家酒店"
    page = visit()
    give(page, f"text,id\n{text},1\n".encode(encoding))
    expect(page.locator("#file-name")).to_contain_text(shown)
    assert table(labelled(page, tmp_path))[1][0] == text


def test_a_semicolon_file_stays_one_and_a_text_file_is_a_text_a_line(visit: Visit, tmp_path: Path) -> None:
    page = visit()
    give(page, b"id;text\n1;book a hotel, please\n")
    assert table(labelled(page, tmp_path), ";")[1][:2] == ["1", "book a hotel, please"]
    page.click("#another")
    expect(page.locator("#drop")).to_be_visible()
    give(page, b"book a hotel, please\ntake a train; now\n", "lines.txt")
    expect(page.locator("#file-name")).to_contain_text("rows: 2")
    assert [row[0] for row in table(labelled(page, tmp_path))] == ["book a hotel, please", "take a train; now"]


def test_an_empty_file_is_refused_by_name(visit: Visit) -> None:
    page = visit()
    give(page, b"\n\n", "nothing.csv")
    expect(page.locator("#file-problem")).to_have_text("nothing.csv holds no rows.")
    page.click("#another")
    give(page, b"text\nbook a hotel\n")
    expect(page.locator("#file-name")).to_contain_text("rows: 1")


TABLES: list[tuple[str, list[list[str]]]] = [
    ("a,b\r\nc,d\r\n", [["a", "b"], ["c", "d"]]),
    ('"a ""b""",\n"c\r\nd",e', [['a "b"', ""], ["c\r\nd", "e"]]),
    ("a,,\n,,b\n", [["a", "", ""], ["", "", "b"]]),
    ('5" disk,x\n', [['5" disk', "x"]]),
    ('a\n\n""\nb', [["a"], [""], ["b"]]),
    ('"never closed,\nb', [["never closed,\nb"]]),
    ("a,b,", [["a", "b", ""]]),
    ("\ufeffa,b", [["\ufeffa", "b"]]),
]


def test_tables_are_parsed(visit: Visit) -> None:
    page = visit()
    parsed = "async text => (await import('/csv.js')).parse(text, ',')"
    assert [page.evaluate(parsed, text) for text, _ in TABLES] == [rows for _, rows in TABLES]


def test_what_is_written_is_read_back_by_others(visit: Visit) -> None:
    rows: list[list[Any]] = [["a", 'q"q', "n\nn", "c,c", " s "], ["", "", "", "", ""], ["é", "好", "\t", "|", ";"]]
    written = visit().evaluate("async rows => (await import('/csv.js')).write(rows, ',')", rows)
    assert table(written) == rows
