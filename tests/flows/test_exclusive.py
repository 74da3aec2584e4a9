import io
import subprocess
import sys
import threading

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.testing.utilities import prefect_test_harness

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


def test_a_run_that_only_waits_for_the_lock_shows_as_waiting_and_runs_afterwards(holder, tmp_path):
    shown = []

    def state(run):
        with get_client(sync_client=True) as client:
            found = client.read_flow_run(run).state
        assert found
        return found

    def look(run):
        while not (seen := state(run)).is_final():
            if seen.name == "Waiting":
                shown.append(seen)
                holder.kill()
                return
        holder.kill()

    @flow
    def waits():
        context = FlowRunContext.get()
        assert context
        assert context.flow_run
        run = context.flow_run.id
        threading.Thread(target=look, args=(run,)).start()
        with exclusive(tmp_path, wait=True, console=Console(io.StringIO())):
            return state(run).name

    with prefect_test_harness(server_startup_timeout=120):
        assert waits() == "Running"
    assert shown[0].is_running()
    assert f"process {holder.pid}" in shown[0].message
