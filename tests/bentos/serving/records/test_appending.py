"""No line is lost, whatever happens to the file between two of them."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from bentos.serving.records.appending import append, replacing, whole_lines
from tests.conftest import ROOT

CROWD = """
import sys
from pathlib import Path
from bentos.serving.records.appending import append
for number in range(int(sys.argv[3])):
    append(Path(sys.argv[1]), f"{sys.argv[2]} {number}\\n".encode())
"""
FULL = """
import resource, sys
from pathlib import Path
from bentos.serving.records.appending import append
resource.setrlimit(resource.RLIMIT_FSIZE, (20, 20))
try:
    append(Path(sys.argv[1]), b"a line that is longer than the disk\\n")
except OSError as error:
    sys.exit(error.strerror)
"""


def test_lines_come_in_order_into_a_file_that_its_owner_alone_reads(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    append(file, b"1\n2\n")
    append(file, b"3\n", durable=True)
    assert list(whole_lines(file)) == [b"1\n", b"2\n", b"3\n"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(whole_lines(tmp_path / "none")) == []


def test_what_is_left_of_a_line_does_not_swallow_the_next_one(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(b"1\nhalf")
    assert list(whole_lines(file)) == [b"1\n"]
    append(file, b"2\n")
    assert list(whole_lines(file)) == [b"1\n", b"half\n", b"2\n"]


def test_a_full_disk_leaves_no_part_of_a_line(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(b"1\n")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == "File too large"
    assert file.read_bytes() == b"1\n"


def moved_over(file: Path, content: bytes) -> None:
    other = file.with_name("restored")
    other.write_bytes(content)
    other.replace(file)


@pytest.mark.parametrize(
    ("replaced", "left"),
    [
        (lambda file: moved_over(file, b"0\n"), [b"0\n"]),
        (lambda file: file.rename(file.with_suffix(".1")), []),
        (lambda file: file.unlink(), []),
        (lambda file: file.write_bytes(b"0\nha"), [b"0\n", b"ha2\n"]),
        (lambda file: os.truncate(file, 0), []),
    ],
    ids=["restored", "rotated", "removed", "restored in place", "copied and truncated"],
)
def test_a_line_survives_what_happens_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replaced: Callable[[Path], object], left: list[bytes]
) -> None:
    """By programs that know no lock of ours, at the worst moment: between the look at the file and the write."""
    file = tmp_path / "records.jsonl"
    append(file, b"1\n")
    write, todo = os.write, [replaced]

    def late(descriptor: int, content: memoryview) -> int:
        if todo:
            todo.pop()(file)
        return write(descriptor, content)

    monkeypatch.setattr(os, "write", late)
    append(file, b"2\n")
    append(file, b"3\n")
    assert list(whole_lines(file)) == [*left, b"2\n", b"3\n"]


def test_many_processes_append_while_the_file_is_rewritten_and_no_line_is_lost_or_doubled(tmp_path: Path) -> None:
    file, count = tmp_path / "records.jsonl", 2_000
    append(file, b"of ann\n")
    crowd = [
        subprocess.Popen([sys.executable, "-c", CROWD, str(file), str(who), str(count)], cwd=ROOT) for who in range(3)
    ]
    while any(process.poll() is None for process in crowd):
        with replacing(file) as (before, after):
            shutil.copyfileobj(before, after)
    assert all(process.returncode == 0 for process in crowd)
    found = file.read_text().splitlines()
    assert found[0] == "of ann"
    assert sorted(found[1:]) == sorted(f"{who} {number}" for who in range(3) for number in range(count))


def test_an_append_waits_for_who_rewrites_the_file(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    append(file, b"1\n")
    waiting = threading.Thread(target=append, args=(file, b"2\n"))
    with replacing(file) as (before, after):
        after.write(before.read().replace(b"1", b"0"))
        waiting.start()
    waiting.join()
    assert file.read_bytes() == b"0\n2\n"


def test_what_breaks_off_leaves_the_file_and_nothing_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    append(file, b"1\n")
    with pytest.raises(ZeroDivisionError), replacing(file) as (_, after):
        after.write(b"%d" % (1 / 0))
    assert [path.name for path in tmp_path.iterdir()] == ["records.jsonl"]
    assert file.read_bytes() == b"1\n"
