import os
import subprocess
import sys

import psutil
import pytest

from flows import system
from flows.identity import identity, living


def test_a_process_is_found_again_by_its_record_until_it_ends():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = {**identity(child.pid), "url": "of no matter"}
    found = living(known)
    assert found
    assert found.pid == child.pid
    child.kill()
    # It is not reaped yet: a zombie is not alive.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert living(known) is None
    child.communicate()
    assert living(known) is None


@pytest.mark.parametrize("other", [{"started": 1}, {"boot": "an earlier one"}])
def test_a_stranger_with_the_same_id_is_not_taken_for_it(other):
    assert living({**identity(os.getpid()), **other}) is None


@pytest.mark.parametrize("record", [{}, {"pid": os.getpid()}, {"pid": os.getpid(), "started": 1.0}])
def test_a_record_that_says_too_little_names_no_process(record):
    assert living(record) is None


def test_a_step_of_the_clock_makes_no_process_another_one(tmp_path, monkeypatch):
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(tmp_path))
    worker = system.Background("worker")
    worker.remember(psutil.Process())
    before = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: before(process) - 3600)
    assert worker.process() == psutil.Process()
