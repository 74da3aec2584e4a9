import os
import time
from pathlib import Path

import pytest

from tasks.base.settings import ServeSettings
from tasks.deployment.retention import prune
from tasks.deployment.supervisor.record import Version, change_live, read_live
from tasks.release.ownership import own, packaged
from tasks.release.package import NAME


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    return tmp_path / "bentoml"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def bento(home: Path, state: Path, number: int) -> Version:
    """A version that this state packaged."""
    path = home / "bentos" / NAME / f"v{number:02}"
    own(state, f"{NAME}:{path.name}", path)
    path.mkdir(parents=True)
    (path / "file").write_bytes(b"x" * 1000)
    (path.parent / "latest").write_text(path.name)
    return Version(tag=f"{NAME}:{path.name}", path=path, content="", serve=ServeSettings())


def left(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "bentos" / NAME).iterdir() if path.is_dir())


def test_thirty_versions_leave_the_newest(home: Path, state: Path) -> None:
    for number in range(30):
        change_live(state, bento(home, state, number), "deployed")
        prune(state, 5)
    assert left(home) == ["v25", "v26", "v27", "v28", "v29"]
    live = read_live(state)
    assert live
    assert [version.tag for version in live.versions] == [f"{NAME}:{name}" for name in left(home)]


def test_the_live_and_the_last_good_one_stay_however_old(home: Path, state: Path) -> None:
    versions = [bento(home, state, number) for number in range(10)]
    change_live(state, versions[0], "deployed")
    change_live(state, versions[1], "deployed")
    removed = prune(state, 2)
    assert left(home) == ["v00", "v01", "v08", "v09"]
    assert removed.bentos == [f"v{number:02}" for number in range(2, 8)]
    assert removed.freed_bytes == 6000


def test_after_a_rollback_the_live_one_stays(home: Path, state: Path) -> None:
    versions = [bento(home, state, number) for number in range(6)]
    for version in versions:
        change_live(state, version, "deployed")
    change_live(state, versions[1], "rolled back")
    prune(state, 2)
    assert left(home) == ["v00", "v01", "v04", "v05"]


def test_nothing_deployed_yet_is_no_reason_to_fail(home: Path, state: Path) -> None:
    assert prune(state, 2).bentos == []
    for number in range(3):
        bento(home, state, number)
    assert prune(state, 2).bentos == ["v00"]


def test_runs_and_the_stages_that_only_they_used_go_together(home: Path, state: Path) -> None:
    clock = time.time() - 1000
    for number in range(5):
        # Each run makes one stage's result of its own and takes up the first run's.
        for path in (state / "stages" / f"own-{number}", state / "stages" / "shared", state / "runs" / f"r{number}"):
            path.mkdir(parents=True, exist_ok=True)
            if path.parent.name == "stages":
                (path / "manifest.json").write_text("{}")
                os.utime(path / "manifest.json", (clock, clock))
            os.utime(path, (clock, clock))
            clock += 1
    removed = prune(state, 2)
    assert removed.runs == ["r0", "r1", "r2"]
    assert removed.stages == ["own-0", "own-1", "own-2"]
    assert sorted(path.name for path in (state / "stages").iterdir()) == ["own-3", "own-4", "shared"]


def test_half_written_copies_go_once_they_are_old(home: Path, state: Path) -> None:
    fresh, old, strange = (home / "tmp" / f"{NAME}-v{number:02}-1" for number in (1, 0, 2))
    for path in (fresh, old, strange):
        path.mkdir(parents=True)
    for number in (0, 1):
        own(state, f"{NAME}:v{number:02}", home / "bentos" / NAME / f"v{number:02}")
    for path in (old, strange):
        os.utime(path, (0, 0))
    assert prune(state, 2).leftovers == [old.name]
    assert fresh.is_dir()
    assert strange.is_dir()


def test_versions_of_another_state_in_the_same_store_stay(home: Path, state: Path) -> None:
    other = state.with_name("other")
    live = bento(home, other, 0)
    change_live(other, live, "deployed")
    for number in range(1, 9):
        change_live(state, bento(home, state, number), "deployed")
        prune(state, 2)
    assert left(home) == ["v00", "v07", "v08"]
    prune(other, 2)
    assert left(home) == ["v00", "v07", "v08"]


def test_a_version_that_another_state_packaged_and_this_one_deployed_stays(home: Path, state: Path) -> None:
    borrowed = bento(home, state.with_name("other"), 0)
    change_live(state, borrowed, "deployed")
    for number in range(1, 5):
        change_live(state, bento(home, state, number), "deployed")
    assert prune(state, 2).bentos == ["v01", "v02"]
    assert borrowed.there


def test_a_crash_before_the_bento_was_there_leaves_nothing_to_stumble_over(home: Path, state: Path) -> None:
    kept = bento(home, state, 0)
    own(state, f"{NAME}:v01", home / "bentos" / NAME / "v01")
    assert prune(state, 2).bentos == []
    assert [one.tag for one in packaged(state)] == [kept.tag]


def test_a_store_that_is_not_there_is_no_reason_to_forget_what_lies_in_it(home: Path, state: Path) -> None:
    kept = bento(home, state, 0)
    home.rename(home.with_name("unmounted"))
    prune(state, 2)
    assert [one.tag for one in packaged(state)] == [kept.tag]
