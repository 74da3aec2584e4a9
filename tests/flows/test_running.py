import json
import os
import subprocess
import sys

import pytest
from prefect import flow, get_client
from prefect.context import FlowRunContext
from prefect.states import Running

from flows import running
from flows.identity import identity
from flows.running import crash_dead_runs, recorded

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "prefect_home", lambda: tmp_path)
    return tmp_path / "running"


def test_a_run_is_recorded_while_it_lasts(home):
    seen = []

    @flow
    def one():
        with recorded():
            seen.extend(record.stem for record in home.glob("*.json"))
            assert crash_dead_runs() == []
        context = FlowRunContext.get()
        assert context
        assert context.flow_run
        return str(context.flow_run.id)

    assert one() == seen[0]
    assert len(seen) == 1
    assert not list(home.glob("*.json"))


def test_a_run_whose_process_was_killed_is_marked_as_crashed(home):
    @flow
    def one():
        pass

    dead = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = identity(dead.pid)
    dead.communicate()
    with get_client(sync_client=True) as client:
        run = client.create_flow_run(one, state=Running())
        home.mkdir()
        (home / f"{run.id}.json").write_text(json.dumps(known))
        assert crash_dead_runs() == [run.id]
        state = client.read_flow_run(run.id).state
        assert state
        assert state.is_crashed()
    assert not list(home.glob("*.json"))


def test_a_stranger_with_the_same_process_id_does_not_count(home):
    @flow
    def one():
        pass

    with get_client(sync_client=True) as client:
        run = client.create_flow_run(one, state=Running())
    home.mkdir()
    (home / f"{run.id}.json").write_text(json.dumps({**identity(os.getpid()), "started": 1}))
    assert crash_dead_runs() == [run.id]
