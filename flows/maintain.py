"""Removes what is old and gives its space back: `python -m flows.maintain`."""

from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.settings import PREFECT_HOME
from pydantic import BaseModel, ConfigDict, Field

from flows import command_line
from flows.console import current
from flows.exclusive import exclusive
from flows.running import recorded
from tasks.base.settings import ServeSettings
from tasks.base.state import state_folder
from tasks.base.upkeep import compact, forget_files, trim_logs
from tasks.deployment.retention import prune

LARGEST_LOG = 10_000_000
FREE_SHARE = 0.25


class MaintainConfig(BaseModel):
    """What is kept when old things are removed."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    retain: int = Field(default=ServeSettings().retain, ge=2)
    """Versions and runs kept; the live version and the good one before it stay however old they are."""
    days: float = Field(default=30, gt=0)
    """Prefect's stored results are kept so long, as its runs are."""


@flow(name="maintain", validate_parameters=True)
def maintain(config: MaintainConfig) -> dict[str, Any]:
    """Removes old versions, runs, results and logs; waits for a running retrain, and holds back the next one.

    Old runs and events leave Prefect's database by the server's own vacuum; here its file is made smaller.

    Returns:
        Bytes freed by kind.
    """
    console, state, home = current(), state_folder(), PREFECT_HOME.value()
    with recorded(), exclusive(state, wait=True, console=console):
        removed = prune(state, config.retain)
        freed = {
            "versions and runs": removed.freed_bytes,
            "results": forget_files(home / "storage", config.days),
            "logs": trim_logs((state / "logs").glob("*.log"), LARGEST_LOG),
            "database": compact(home / "prefect.db", FREE_SHARE),
        }
    create_table_artifact(table=[{"what": name, "bytes": size} for name, size in freed.items()], key="maintain")
    for name, size in freed.items():
        console.line(f"{name:<20}{size / 1e6:>10.1f} MB freed")
    return freed


if __name__ == "__main__":
    log = state_folder() / "logs" / "maintain.log"
    command_line.run_flow(MaintainConfig, "python -m flows.maintain", log, maintain)
