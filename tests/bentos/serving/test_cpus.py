import os
from pathlib import Path

import pytest

from bentos.serving.cpus import allowed_cpus, share


def cgroups(tmp_path: Path, files: dict[str, str], own: str) -> dict[str, Path]:
    for name, text in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    groups = tmp_path / "own"
    groups.write_text(own)
    return {"cgroups": tmp_path / "cgroup", "own_groups": groups}


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


def test_without_a_quota_the_affinity_counts(tmp_path: Path) -> None:
    assert allowed_cpus(**cgroups(tmp_path, {"cpu.max": "max 100000"}, "0::/\n")) == 8


def test_a_version_2_quota_of_the_own_group_counts(tmp_path: Path) -> None:
    files = {"cpu.max": "max 100000", "a/cpu.max": "350000 100000", "a/b/cpu.max": "max 100000"}
    assert allowed_cpus(**cgroups(tmp_path, files, "0::/a/b\n")) == 3


def test_a_version_1_quota_counts(tmp_path: Path) -> None:
    files = {"cpu,cpuacct/pod/cpu.cfs_quota_us": "200000", "cpu,cpuacct/pod/cpu.cfs_period_us": "100000"}
    assert allowed_cpus(**cgroups(tmp_path, files, "4:memory:/x\n3:cpu,cpuacct:/pod\n")) == 2


def test_less_than_one_cpu_is_one(tmp_path: Path) -> None:
    assert allowed_cpus(**cgroups(tmp_path, {"cpu.max": "20000 100000"}, "0::/\n")) == 1


@pytest.mark.parametrize(
    ("workers", "threads", "expected"),
    [
        (None, None, (8, 1)),
        (None, 2, (4, 2)),
        (None, 16, (1, 8)),
        (2, None, (2, 1)),
        (2, 3, (2, 3)),
        (3, 4, (3, 2)),
        (99, 2, (8, 1)),
    ],
)
def test_workers_times_threads_never_exceed_the_cpus(
    workers: int | None, threads: int | None, expected: tuple[int, int]
) -> None:
    assert share(workers, threads, cpus=8) == expected
