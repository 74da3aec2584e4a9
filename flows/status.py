"""What `make status` says: versions, processes, schedules, disk, the service, and the registry page."""

import subprocess
import sys

from flows.api import listed
from flows.environment import kept_server
from flows.system import Background
from tasks.base.state import ROOT, state_folder
from tasks.report.registry import disk, versions, write_registry

_PLACES_SHOWN = 4


def status() -> None:
    """Prints one line each; the last is where the registry page lies."""
    state, url = state_folder(), kept_server()
    print(f"prefect     {url.removesuffix('/api') if url else 'not running (make up)'}")
    for name in ("worker", "keeper"):
        print(f"{name:<12}{'running' if Background(name).process() else 'not running (make up)'}")
    for line in schedules(url) if url else ():
        print(line)
    known = versions(state)
    for name in ("live", "previous", "candidate"):
        print(f"{name:<12}{getattr(known, name) or 'none'}")
    print("service     ", end="", flush=True)
    subprocess.run([sys.executable, "-m", "tasks.deployment", "status"], cwd=ROOT, check=False)
    used = disk(state)
    shown = ", ".join(f"{name} {size / 1e6:,.1f}" for name, size in list(used.items())[:_PLACES_SHOWN])
    print(f"disk        {sum(used.values()) / 1e6:,.1f} MB ({shown})")
    print(f"registry    {write_registry(state).as_uri()}")


def schedules(url: str) -> list[str]:
    """A line for each scheduled deployment of the server at `url`: when, and whether it is paused."""
    lines = []
    for deployment in listed(url, "deployments"):
        times = deployment.get("schedules") or []
        paused = deployment.get("paused") or any(not each["active"] for each in times)
        when = ", ".join(str(each["schedule"].get("cron") or each["schedule"]) for each in times)
        if when:
            lines.append(f"schedule    {deployment['name']:<22}{when:<16}{'PAUSED' if paused else 'active'}")
    return sorted(lines)
