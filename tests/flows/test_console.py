import io
import os
import subprocess
import sys

from flows.console import Console, current, shown_on
from tests.conftest import ROOT

NOISY = """
import os, sys
from pathlib import Path
from flows.console import quiet
with quiet(Path(sys.argv[1])) as console:
    print("python noise")
    os.write(2, b"native noise\\n")
    console.line("a line for a person")
print("after")
"""


def test_noise_of_python_and_native_code_goes_into_the_log(tmp_path):
    log = tmp_path / "logs" / "run.log"
    done = subprocess.run([sys.executable, "-c", NOISY, str(log)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("a line for a person\nafter\n", "")
    assert sorted(log.read_text().splitlines()) == ["native noise", "python noise"]


def test_a_run_goes_on_when_nobody_reads_its_lines_any_more():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        console = Console(stream, stream)
        console.line("read")
        os.close(reader)
        console.line("not read")
        console._last = -1e9
        console.progress("train", 0.5, "not read either")
        # Closing writes what the stream still holds.
        os.dup2(os.open(os.devnull, os.O_WRONLY), writer)


def test_a_stage_is_one_line_with_its_seconds():
    said = io.StringIO()
    Console(said).stage("train encoder", 3129.24, "done")
    assert said.getvalue().split() == ["train", "encoder", "3129.2", "s", "done"]


def test_a_kept_stage_says_so():
    said = io.StringIO()
    Console(said).stage("convert", 0.01, "done", kept=True)
    assert "kept" in said.getvalue()


def test_a_terminal_gets_a_bar():
    controller, terminal = os.openpty()
    with os.fdopen(terminal, "w") as error:
        console = Console(io.StringIO(), error)
        console.progress("train cnn", 0.5, "epoch 3")
        drawn = b""
        while b"50%" not in drawn:
            drawn += os.read(controller, 1000)
        console.finish_progress()
    os.close(controller)
    assert "| epoch 3" in drawn.decode()


def test_a_bar_is_drawn_a_few_times_a_second_whatever_it_is_told():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    drawn = Terminal()
    console = Console(io.StringIO(), drawn)
    for step in range(20_000):
        console.progress("evaluate", step / 20_000, "answering")
    assert 0 < drawn.getvalue().count("evaluate") < 200


def test_a_flow_finds_the_console_of_its_command_and_its_own_without_one():
    mine = Console(io.StringIO())
    with shown_on(mine):
        assert current() is mine
    assert current() is not mine
