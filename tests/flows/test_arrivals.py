import os

import pytest
import sqlalchemy

from flows.arrivals import Watch, fingerprint


def test_the_first_look_only_remembers(tmp_path):
    watch = Watch(tmp_path / "watched.json")
    assert not watch.changed("source", "a")
    assert not watch.changed("source", "a")


def test_a_change_counts_once_when_it_has_settled(tmp_path):
    watch = Watch(tmp_path / "watched.json")
    watch.changed("source", "a")
    seen = [watch.changed("source", now) for now in ("b", "c", "c", "c")]
    assert seen == [False, False, True, False]


def test_a_change_while_nobody_looked_is_noticed_after_a_restart(tmp_path):
    Watch(tmp_path / "watched.json").changed("source", "a")
    watch = Watch(tmp_path / "watched.json")
    assert [watch.changed("source", "b"), watch.changed("source", "b")] == [False, True]


def test_what_is_remembered_is_whole_however_the_writing_ends(tmp_path, monkeypatch):
    Watch(tmp_path / "watched.json").changed("a source", "a")
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", lambda _: os.write(-1, b""))
        with pytest.raises(OSError, match="Bad file descriptor"):
            Watch(tmp_path / "watched.json").changed("another", "b" * 100_000)
    assert not Watch(tmp_path / "watched.json").changed("a source", "a")


def test_a_source_that_is_gone_is_no_change(tmp_path):
    watch = Watch(tmp_path / "watched.json")
    watch.changed("source", "a")
    assert not watch.changed("source", None)
    assert not watch.changed("source", "a")


def test_the_first_file_that_lands_counts_once_where_nothing_was_before(tmp_path):
    watch, folder = Watch(tmp_path / "watched.json"), tmp_path / "incoming"

    def look() -> bool:
        return watch.changed("incoming", fingerprint(str(folder), None))

    seen = [look()]
    folder.mkdir()
    seen.append(look())
    (folder / "one.csv").write_text("text,label\n")
    seen += [look(), look(), look()]
    assert seen == [False, False, False, True, False]


def test_a_file_that_lands_in_a_folder_changes_its_fingerprint(tmp_path):
    (tmp_path / "one.csv").write_text("text,label\n")
    before = fingerprint(str(tmp_path), None)
    (tmp_path / ".hidden").write_text("x")
    assert fingerprint(str(tmp_path), None) == before
    (tmp_path / "two.csv").write_text("text,label\n")
    assert fingerprint(str(tmp_path), None) != before


def test_bytes_of_the_same_length_written_later_change_the_fingerprint(tmp_path):
    file = tmp_path / "one.csv"
    file.write_text("a")
    before = fingerprint(str(file), None)
    file.write_text("b")
    os.utime(file, ns=(1, 1))
    assert fingerprint(str(file), None) != before


def test_a_table_that_grows_changes_its_fingerprint(tmp_path):
    url = f"sqlite:///{tmp_path}/shop.db"
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE reviews (body TEXT, stars TEXT)"))
    before = fingerprint(url, "SELECT body, stars FROM reviews;")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("INSERT INTO reviews VALUES ('good', '5')"))
    assert fingerprint(url, "SELECT body, stars FROM reviews;") != before


def test_what_cannot_be_watched_has_no_fingerprint(tmp_path):
    assert fingerprint(str(tmp_path / "none.csv"), None) is None
    assert fingerprint("s3://bucket/file.csv", None) is None
