"""How many CPUs this process may use, and how workers and threads share them."""

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
_OWN_GROUPS = Path("/proc/self/cgroup")


def allowed_cpus(cgroups: Path = CGROUPS, own_groups: Path = _OWN_GROUPS) -> int:
    """CPUs by the smaller of affinity and cgroup quota (version 1 or 2), at least one.

    A container's quota is invisible to `os.cpu_count`; threads sized to the host would fight
    for it (onnxruntime#8313). A fraction of a CPU is rounded down.
    """
    affinity = len(os.sched_getaffinity(0))
    return max(1, min([affinity, *(int(quota) for quota in _quotas(cgroups, own_groups))]))


def share(workers: int | None, threads: int | None, cpus: int | None = None) -> tuple[int, int]:
    """(workers, threads a worker) whose product is at most `cpus`; what is not given is derived.

    One thread a worker is the most efficient for many small requests. A number that was given
    is kept as far as the CPUs reach, workers before threads.
    """
    cpus = cpus or allowed_cpus()
    workers = min(workers or max(1, cpus // (threads or 1)), cpus)
    return workers, max(1, min(threads or 1, cpus // workers))


def _quotas(cgroups: Path, own_groups: Path) -> list[float]:
    """CPU quotas of this process's cgroup and of those around it."""
    found = []
    for folder in _group_folders(cgroups, own_groups):
        for read in (_quota_v2, _quota_v1):
            quota = read(folder)
            if quota is not None:
                found.append(quota)
    return found


def _group_folders(cgroups: Path, own_groups: Path) -> list[Path]:
    folders = {cgroups, cgroups / "cpu", cgroups / "cpu,cpuacct"}
    try:
        lines = own_groups.read_text().splitlines()
    except OSError:
        return sorted(folders)
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root in (cgroups / controllers, cgroups / "cpu") if controllers else (cgroups,):
            inner = root / group.lstrip("/")
            folders |= {inner, *(outer for outer in inner.parents if outer.is_relative_to(cgroups))}
    return sorted(folders)


def _quota_v2(folder: Path) -> float | None:
    try:
        quota, period = (folder / "cpu.max").read_text().split()
    except (OSError, ValueError):
        return None
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(folder: Path) -> float | None:
    try:
        quota = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 else None
