"""A file's format is found among the files of the package, by its beginning or its name."""

from pathlib import Path

import fsspec
import pytest

from tasks.data.sources.formats import TextFormat, binary_format, register, text_format
from tasks.data.sources.opening import File


def file(name: str) -> File:
    return File(name, name, fsspec.filesystem("memory"))


@pytest.mark.parametrize(
    ("name", "start", "found"),
    [
        ("rows.json", "text,label\n", "JSON"),
        ("rows.txt", '[\n{"text": "a"}]', "JSON"),
        ("rows.bio", "Ann B-PER\n", "CoNLL"),
        ("rows.txt", "Ann B-PER\nsat O\n\nBo B-PER\nran O\n", "CoNLL"),
        ("rows.txt", "anything", "CSV"),
    ],
)
def test_text(name: str, start: str, found: str) -> None:
    assert text_format(file(name), start).name == found


@pytest.mark.parametrize(
    ("start", "found"),
    [(b"PAR1\x15\x00", "Parquet file"), (b"PK\x03\x04\x14", "Excel workbook"), (b"ARROW1\x00\x00", "Feather file")],
)
def test_binary(start: bytes, found: str) -> None:
    kind = binary_format(start)
    assert kind is not None
    assert kind.name == found
    assert binary_format(b"text,label") is None


def test_a_format_that_registers_itself_is_asked_in_its_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.data.sources.formats._REGISTRY", {})
    for name, rank in (("last", 100), ("first", 5)):
        register(TextFormat(name, rank, lambda one, start: True, lambda one, encoding, reading: iter(())))
    assert text_format(file("rows.txt"), "").name == "first"


def test_every_file_of_the_package_registers_a_format() -> None:
    import tasks.data.sources.formats as formats

    binary_format(b"")
    for path in (path for path in Path(formats.__path__[0]).glob("*.py") if path.stem != "__init__"):
        assert "\nregister(" in path.read_text("utf-8"), path.name
