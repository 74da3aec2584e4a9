"""Which encoding a file is read in, and that a wrong guess costs rows or a message, never letters."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tasks.base.errors import InputError
from tasks.base.manifests import Table
from tasks.base.settings import SourceSettings
from tasks.data.ingest import ingest

FRENCH = ["Très bon film", "Je suis déçu", "C'était génial", "Où est mon colis ?", "À éviter", "Ça ne marche pas"] * 10
ENGLISH = [f"this is a plain text of a person, number {number}" for number in range(60)]


def read(folder: Path, content: bytes, **settings: Any) -> Table:
    (folder / "a.csv").write_bytes(b"text,label\n" + content)
    return ingest(SourceSettings(source=str(folder / "a.csv"), **settings), folder / "stage", 13)


def lines(texts: list[str]) -> str:
    return "".join(f'"{text}",{"ab"[place % 2]}\n' for place, text in enumerate(texts))


def texts_of(table: Table) -> list[str]:
    return pq.read_table(table.path)["text"].to_pylist()


@pytest.mark.parametrize(
    ("encoding", "texts"),
    [
        ("cp1252", FRENCH),
        ("cp1252", ["It’s a great “film” – really", "the café was nice", "naïve and cliché"] * 5),
        ("cp1252", ["Það er mjög gott veður í dag", "Ég veit ekki hvað þú ert að segja"] * 5),
        ("cp1250", ["Świetna obsługa, dziękuję", "Źle działa, proszę o zwrot pieniędzy"] * 5),
        ("cp1254", ["Sonunu beğenmedim, ışık kötüydü", "Şikayet ediyorum, ürün bozuk geldi"] * 5),
        ("koi8_r", ["очень хороший фильм", "Мне не понравился конец", "Отличный товар, спасибо"] * 5),
        ("gb18030", ["这部电影非常好看", "我不喜欢这个结局", "演员表演得很自然", "音乐太吵了"] * 15),
        ("big5", ["這部電影非常好看", "我不喜歡這個結局", "演員表演得很自然", "音樂太吵了"] * 5),
        ("shift_jis", ["とても良い映画でした", "終わり方が好きではない", "音楽がうるさかった"] * 5),
        ("cp949", ["아주 좋은 영화였다", "결말이 마음에 들지 않았다", "음악이 너무 시끄러웠다"] * 5),
    ],
)
def test_letters_tell_the_encoding(tmp_path: Path, encoding: str, texts: list[str]) -> None:
    table = read(tmp_path, lines(texts).encode(encoding))
    assert texts_of(table) == texts
    assert "assumed" in table.notes[0]


def test_the_note_names_the_line_that_decided(tmp_path: Path) -> None:
    table = read(tmp_path, lines([*ENGLISH, *FRENCH]).encode("cp1252"))
    path = tmp_path / "a.csv"
    assert table.notes == [
        f"{path}: read as CP1252, assumed since line 62 is not UTF-8; another one is named by --encoding"
    ]


@pytest.mark.parametrize("stray", [b"\xf0", b"\xfe\xff", b"\x9d"])
def test_one_stray_byte_in_plain_english_costs_its_row_only(tmp_path: Path, stray: bytes) -> None:
    rows = lines(ENGLISH).encode().replace(b'person, number 7"', b"per" + stray + b'son, number 7"')
    table = read(tmp_path, rows)
    assert table.quarantined == {"bytes that are not of the file's encoding": 1}
    assert table.quarantine is not None
    assert ",9,bytes that are not" in table.quarantine.read_text()
    assert texts_of(table) == [text for text in ENGLISH if not text.endswith(" 7")]


def test_one_accented_letter_in_plain_english_is_read(tmp_path: Path) -> None:
    rows = lines(ENGLISH).encode().replace(b'person, number 7"', b'caf\xe9, number 7"')
    assert "this is a plain text of a café, number 7" in texts_of(read(tmp_path, rows))


def test_rows_of_another_encoding_in_a_file_of_utf8_are_set_aside(tmp_path: Path) -> None:
    rows = lines(FRENCH).encode() + lines(FRENCH[:20]).encode("cp1252")
    table = read(tmp_path, rows)
    assert texts_of(table) == FRENCH
    assert table.quarantined == {"bytes that are not of the file's encoding": 20}


def test_an_encoding_given_by_hand_is_taken(tmp_path: Path) -> None:
    table = read(tmp_path, "voilà,a\ndéjà,b\n".encode("mac_roman"), encoding="mac-roman")
    assert (texts_of(table), table.notes) == (["voilà", "déjà"], [])


def test_bytes_that_the_given_encoding_does_not_know_cost_their_rows(tmp_path: Path) -> None:
    table = read(tmp_path, "良い,a\n".encode("shift_jis") + b"\x85\xff\x80,b\n", encoding="shift_jis")
    assert texts_of(table) == ["良い"]
    assert table.quarantined == {"bytes that are not of the file's encoding": 1}


@pytest.mark.parametrize("encoding", ["klingon", "base64", ""])
def test_an_encoding_that_there_is_not(tmp_path: Path, encoding: str) -> None:
    with pytest.raises(InputError, match=f"--encoding: '{encoding}' is no encoding; give one such as"):
        read(tmp_path, b"x,a\n", encoding=encoding)


def test_an_encoding_that_cannot_be_told_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.csv: its encoding cannot be told; line 2 is the first .* --encoding"):
        read(
            tmp_path, b"".join(bytes(128 + (n * n * 37 + m * 11) % 128 for m in range(9)) + b",a\n" for n in range(60))
        )
