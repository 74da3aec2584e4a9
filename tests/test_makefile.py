"""What a person types after `make` reaches the flow as it was typed; recipes run with a stand-in for Python."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

STAND_IN = """#!{python}
import json, sys
with open({asked!r}, "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
"""


@pytest.fixture
def asked(tmp_path: Path):
    """Runs make with arguments and an environment; answers with the command lines that Python got."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    python.write_text(STAND_IN.format(python=sys.executable, asked=str(tmp_path / "asked")))
    python.chmod(0o755)

    def run(*arguments: str, **environ: str) -> list[list[str]]:
        subprocess.run(
            ["make", "-o", "ready", f"BIN={python.parent}", "READY=ready", *arguments],
            cwd=ROOT,
            env={**os.environ, **environ},
            check=True,
        )
        return [json.loads(line) for line in (tmp_path / "asked").read_text().splitlines()]

    return run


def test_a_value_reaches_the_flow_as_it_was_typed(asked):
    server, retrain = asked("retrain", 'SOURCE=it\'s "mine".csv', "TEXT=Nachricht (text)", "ARGS=--no-deploy --seed 1")
    assert server == ["-m", "flows.system", "server"]
    assert retrain == [
        "-m", "flows.retrain", "--source", "it's \"mine\".csv", "--text-column", "Nachricht (text)",
        "--no-deploy", "--seed", "1",
    ]  # fmt: skip


def test_the_environment_gives_no_value(asked):
    _, retrain = asked("retrain", SOURCE="x.csv", TEST="1", TEXT="body", LABEL="stars", EFFORT="huge", ARGS="-x")
    assert retrain == ["-m", "flows.retrain"]
