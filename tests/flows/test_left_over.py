import os
import subprocess
import sys
import time

import psutil

from flows import system

STARTS_ANOTHER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_what_a_killed_process_had_started_is_ended_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(tmp_path / "state"))
    worker = system.Background("worker")
    process = worker.start([sys.executable, "-c", STARTS_ANOTHER], dict(os.environ))
    elsewhere = {**os.environ, system.MARK: str(tmp_path / "other")}
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=elsewhere)
    try:
        while not worker.log.read_text():
            time.sleep(0.05)
        orphan = psutil.Process(int(worker.log.read_text()))
        process.kill()
        process.wait()
        assert not worker.stop()
        assert system.end_left_over() == 1
        assert not orphan.is_running()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
