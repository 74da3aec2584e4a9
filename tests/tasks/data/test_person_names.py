"""Names are found where presidio-analyzer and a spaCy model are installed, and their lack is said where not."""

import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from bentos.serving.records.personal_data import Found, Redactor
from tasks.base.errors import InputError
from tasks.base.settings import DataSettings, SourceSettings
from tasks.data import person_names
from tasks.data.ingest import ingest
from tasks.data.person_names import name_finder
from tasks.data.personal_data import redactor


def test_without_the_package_one_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(person_names, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs presidio-analyzer, which is not there: pip install"):
        name_finder("en_core_web_sm")
    assert "presidio_analyzer" not in sys.modules


def test_names_are_asked_for_together_with_a_policy() -> None:
    with pytest.raises(ValidationError, match=r"person_names asks for data.personal_data mask, hash or drop"):
        DataSettings(person_names="en_core_web_sm")
    assert DataSettings(person_names="en_core_web_sm", personal_data="mask").person_names == "en_core_web_sm"


def test_what_a_pattern_found_is_not_found_again_as_a_name() -> None:
    def finder(text: str) -> list[Found]:
        return [Found("name", 0, 3), Found("name", 9, 12)]

    assert Redactor("mask", names=finder)("Ann wrote ann@mail.example") == "[name] wrote [email]"
    assert Redactor("drop", names=finder)("Ann wrote nothing") is None
    assert Redactor("keep", names=finder)("Ann wrote nothing") == "Ann wrote nothing"
    hashed = Redactor("hash", b"key", lambda text: [Found("name", 0, 3)])
    assert hashed("Ann wrote") == f"[name:{hashed.pseudonym('Ann')}] wrote"


def test_long_texts_are_read_in_pieces_that_miss_no_character() -> None:
    for text in ("", "x", "word " * 10_000, "x" * 50_000, "a" * 19_999 + " b" * 30_000):
        pieces = list(person_names._pieces(text))
        assert "".join(piece for _, piece in pieces) == text
        assert all(text[start : start + len(piece)] == piece for start, piece in pieces)
        assert all(0 < len(piece) <= person_names._PIECE for _, piece in pieces)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A spaCy model by rules, which needs no download."""
    pytest.importorskip("presidio_analyzer", reason="the extra `names` is not installed")
    import spacy  # pyright: ignore[reportMissingImports]

    language = spacy.blank("en")
    patterns = [{"label": "PERSON", "pattern": name} for name in ("Ann Miller", "Ben")]
    language.add_pipe("entity_ruler").add_patterns(patterns)  # type: ignore[attr-defined]
    language.to_disk(tmp_path / "rules")
    return tmp_path / "rules"


def test_a_model_s_names_are_masked_at_ingest(model: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\nAnn Miller wrote to ben@mail.example,a\nnobody wrote,b\n")
    personal = redactor("mask", tmp_path, str(model))
    table = ingest(SourceSettings(source=str(tmp_path / "rows.csv")), tmp_path / "stage", 1, personal)
    assert pq.read_table(table.path)["text"].to_pylist() == ["[name] wrote to [email]", "nobody wrote"]


def test_places_are_right_in_long_texts(model: Path) -> None:
    text = "😀 nobody " * 3_000 + "Ann Miller"
    assert name_finder(str(model))(text) == [Found("name", len(text) - 10, len(text))]


def test_a_model_that_is_not_there_or_finds_no_names_is_named(model: Path, tmp_path: Path) -> None:
    import spacy  # pyright: ignore[reportMissingImports]

    with pytest.raises(InputError, match="there is no spaCy model 'no_such_model' here: install its package"):
        name_finder("no_such_model")
    spacy.blank("en").to_disk(tmp_path / "blank")
    with pytest.raises(InputError, match="finds no names; its parts are none"):
        name_finder(str(tmp_path / "blank"))
