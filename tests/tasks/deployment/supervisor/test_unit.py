import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.deployment.supervisor import lifecycle, processes
from tasks.deployment.supervisor.record import Version, change_live
from tasks.deployment.supervisor.unit import unit
from tests.tasks.deployment.supervisor.bento import SERVE, lay_out


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
@pytest.mark.parametrize("user", [True, False])
def test_systemd_accepts_the_unit(tmp_path: Path, user: bool) -> None:
    file = tmp_path / "text-classifier.service"
    file.write_text(unit(tmp_path / "state", user=user, bentoml_home="/var/lib/bentoml"))
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert file.name not in done.stderr


def test_what_the_unit_runs_serves_in_the_foreground_until_it_is_told_to_stop(tmp_path: Path) -> None:
    state = tmp_path / "state"
    change_live(state, Version.of(lay_out(tmp_path, 1), SERVE), "deployed")
    command = [sys.executable, "-m", "tasks.deployment", "run", "--state", str(state), "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 240
            while not ((running := lifecycle.status(state)) and running["workers"]):
                assert time.monotonic() < end
                assert process.poll() is None
                time.sleep(0.05)
            assert running["guardian"] == process.pid
            again = subprocess.run(command, capture_output=True, text=True)
            assert again.returncode == 2
            assert again.stderr.strip() == "error: the deployment is up already: `make stop` ends it"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(120)
    assert process.returncode == 0
    assert processes.find(state) == []
