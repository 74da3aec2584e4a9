import threading
from pathlib import Path

from tasks.base.manifests import Record
from tasks.base.remembered import remember, remembered


class Note(Record):
    text: str


def test_a_line_separator_within_a_value_ends_no_record(tmp_path: Path) -> None:
    notes = [Note(text="one\u2028two"), Note(text="three\x85four"), Note(text="five")]
    remember(tmp_path / "notes.jsonl", Note, lambda before: [*before, *notes])
    assert remembered(tmp_path / "notes.jsonl", Note) == notes


def test_who_remembers_at_the_same_time_loses_nothing(tmp_path: Path) -> None:
    def work(who: int) -> None:
        for number in range(50):
            remember(tmp_path / "notes.jsonl", Note, lambda before, note=f"{who} {number}": [*before, Note(text=note)])

    crowd = [threading.Thread(target=work, args=(who,)) for who in range(4)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    assert len(remembered(tmp_path / "notes.jsonl", Note)) == 200


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "notes.jsonl").write_bytes(b'{"text": "a"}\n{"other": 1}\n\xff\n{"text": "b"}\n{"text": "cut')
    assert [note.text for note in remembered(tmp_path / "notes.jsonl", Note)] == ["a", "b"]
