import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from tasks.base.upkeep import compact, forget_files, trim_logs


def test_a_large_log_keeps_its_last_lines_and_its_writer(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with log.open("ab", buffering=0) as writer:
        for number in range(1000):
            writer.write(f"line {number}\n".encode())
        freed = trim_logs([log], 2000)
        writer.write(b"after\n")
    lines = log.read_text().splitlines()
    assert freed > 7000
    assert lines[-2:] == ["line 999", "after"]
    assert all(line.startswith("line ") for line in lines[:-1])


def test_a_small_log_stays(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_text("line\n")
    assert trim_logs([log], 2000) == 0
    assert log.read_text() == "line\n"


def test_old_files_go_and_new_ones_stay(tmp_path: Path) -> None:
    old, new = tmp_path / "deep" / "old", tmp_path / "new"
    old.parent.mkdir()
    old.write_bytes(b"x" * 10)
    new.write_bytes(b"x")
    past = time.time() - 3 * 86400
    os.utime(old, (past, past))
    assert forget_files(tmp_path, 2) == 10
    assert (old.exists(), new.exists()) == (False, True)
    assert forget_files(tmp_path / "none", 2) == 0


def test_a_database_gives_back_what_was_deleted_while_others_have_it_open(tmp_path: Path) -> None:
    database = tmp_path / "prefect.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as server:
        server.execute("PRAGMA journal_mode=WAL")
        server.execute("CREATE TABLE runs (log TEXT)")
        server.executemany("INSERT INTO runs VALUES (?)", [("x" * 5000,)] * 500)
        assert compact(database, 0.25) == 0
        server.execute("DELETE FROM runs WHERE rowid > 10")
        assert compact(database, 0.25) > 1_000_000
        assert server.execute("SELECT count(*) FROM runs").fetchone() == (10,)
    assert compact(tmp_path / "none.db", 0.25) == 0
