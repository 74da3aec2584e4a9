import json
from pathlib import Path

import pytest

from tasks.base.settings import ServeSettings
from tasks.deployment.retention import prune
from tasks.deployment.supervisor.record import Version, change_live, note
from tasks.release.ownership import own
from tasks.release.package import NAME, store
from tasks.report.registry import RUNS, Versions, disk, runs, versions, write_registry
from tasks.watching.drift.history import remember
from tasks.watching.drift.report import DriftReport


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


def bento(state: Path, number: int) -> Version:
    path = store() / f"2026010{number}120000-aaaaaaaa"
    own(state, f"{NAME}:{path.name}", path)
    path.mkdir(parents=True)
    (path / "file").write_bytes(b"x" * 1000)
    return Version(tag=f"{NAME}:{path.name}", path=path, content="", serve=ServeSettings())


def run(state: Path, name: str, value: float, tag: str | None) -> None:
    folder = state / "runs" / name
    folder.mkdir(parents=True)
    report = {
        "data": {"source": "<tickets>.csv"},
        "chosen": {"name": "linear"},
        "test": {"accuracy": {"value": value, "low": value - 0.02, "high": value + 0.02}},
        "gate": {"verdict": "passed" if tag else "refused"},
        "bento": {"tag": tag} if tag else None,
        "hashes": {"split": "0123abcd"},
    }
    (folder / "report.json").write_text(json.dumps(report))


def test_a_new_system_has_nothing_live(state: Path) -> None:
    assert versions(state) == Versions(None, None, None)
    assert "Nothing is live" in write_registry(state).read_text()


def test_live_previous_and_candidate_are_told_apart(state: Path) -> None:
    first, second, third = (bento(state, number) for number in (1, 2, 3))
    change_live(state, first, "deployed")
    change_live(state, second, "deployed")
    assert versions(state) == Versions(second.tag, first.tag, third.tag)
    change_live(state, third, "deployed")
    assert versions(state) == Versions(third.tag, second.tag, None)


def test_versions_of_another_state_in_the_same_store_are_none_of_its_own(state: Path) -> None:
    change_live(state, bento(state, 1), "deployed")
    bento(state.with_name("other"), 2)
    assert versions(state) == Versions(f"{NAME}:20260101120000-aaaaaaaa", None, None)
    assert disk(state) == {"bentos": 1000}


def test_a_run_that_ended_early_is_listed_with_what_it_reached(state: Path) -> None:
    folder = state / "runs" / "20260101-030000-7"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({"data": None, "test": None, "gate": None, "bento": None}))
    (only,) = runs(state)
    assert (only.accuracy, only.verdict, only.tag) == (None, None, None)
    write_registry(state)


def test_the_page_shows_lineage_history_and_drift_and_loads_nothing(state: Path) -> None:
    live = bento(state, 1)
    change_live(state, live, "deployed")
    note(state, "deployed", live.tag, "nightly")
    run(state, "20260101-030000-7", 0.91, live.tag)
    run(state, "20260102-030000-8", 0.93, None)
    look = DriftReport(
        state="drift", version="v1", alpha=0.001, rows=500, compared=499, reference_rows=1000, since=None, until=None
    )
    remember(look, state / "drift")
    page = write_registry(state).read_text()
    for shown in ("91.0", "93.0", "0123abcd", "nightly", "refused", "499", "&lt;tickets&gt;.csv"):
        assert shown in page
    assert "<tickets>" not in page
    assert "http" not in page.replace("file:", "")


def test_accuracy_over_time_outlasts_the_reports(state: Path) -> None:
    for day in range(1, 8):
        run(state, f"2026010{day}-030000-7", 0.9 + day / 100, None)
        prune(state, 2)
        write_registry(state)
    page = write_registry(state).read_text()
    assert len(list((state / "runs").iterdir())) == 2
    seen = runs(state)
    accuracy = [one.accuracy["value"] for one in seen if one.accuracy]
    assert accuracy == pytest.approx([0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97])
    assert [one.page is not None for one in seen] == [False] * 5 + [True] * 2
    assert page.count(">report</a>") == 2
    assert "7 runs, the last at 97.0%" in page


def test_so_many_runs_are_remembered_and_no_more(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.report.registry.MOST_RUNS", 3)
    for day in range(1, 6):
        run(state, f"2026010{day}-030000-7", 0.9, None)
    write_registry(state)
    assert [json.loads(line)["name"][6:8] for line in (state / RUNS).read_text().splitlines()] == ["03", "04", "05"]


def test_disk_use_is_counted_by_what_it_is_kept_for(state: Path) -> None:
    bento(state, 1)
    (state / "logs").mkdir()
    (state / "logs" / "a.log").write_bytes(b"x" * 5000)
    assert disk(state) == {"logs": 5000, "bentos": 1000}
