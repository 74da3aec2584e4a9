import io
import subprocess
import sys
import threading

import pytest

from flows.console import Console
from flows.exclusive import exclusive
from tasks.base.errors import InputError
from tests.conftest import ROOT

HOLD = """
import sys
from pathlib import Path
from flows.console import Console
from flows.exclusive import exclusive
with exclusive(Path(sys.argv[1]), wait=True, console=Console()):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_run_without_wait_is_refused_and_names_the_holder(holder, tmp_path):
    with (
        pytest.raises(InputError, match=f"process {holder.pid}"),
        exclusive(tmp_path, wait=False, console=Console(io.StringIO())),
    ):
        pass


def test_a_second_run_queues_says_so_and_goes_on_when_the_holder_is_killed(holder, tmp_path):
    said = io.StringIO()
    threading.Timer(0.3, holder.kill).start()
    with exclusive(tmp_path, wait=True, console=Console(said)):
        assert "waiting" in said.getvalue()
