"""Which process it was: told from a stranger with the same id, after a reboot and after a step of the clock."""

from pathlib import Path
from typing import Any

import psutil

_PROC = Path("/proc")
_START_FIELD = 19


def identity(pid: int) -> dict[str, Any]:
    """What tells the process `pid` from every other one: its id, its start in ticks since the boot, the boot.

    Not its start by the clock, which the kernel works out anew whenever the clock is set: every
    living process would then seem to be another one (psutil's `create_time` is such a time).

    Raises:
        OSError: there is no such process.
    """
    # The program's name, which ends with the last bracket, may hold spaces.
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text().strip()
    return {"pid": pid, "started": int(fields[_START_FIELD]), "boot": boot}


def living(known: dict[str, Any]) -> psutil.Process | None:
    """The process of which `identity` said `known`, among other facts; None once it has ended."""
    try:
        now = identity(known["pid"])
        process = psutil.Process(known["pid"])
        same = all(known.get(name) == value for name, value in now.items())
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (OSError, KeyError, psutil.Error):
        return None
