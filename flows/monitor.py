"""Is live traffic still what the live version was accepted on? `python -m flows.monitor`."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_table_artifact
from prefect.events import emit_event
from pydantic import Field

from flows import command_line
from flows.console import current
from flows.running import recorded
from tasks.base.files import write_whole
from tasks.base.settings import WatchSettings
from tasks.base.state import state_folder
from tasks.data.feedback import feedback_since
from tasks.deployment.served_model import served_model
from tasks.deployment.supervisor.record import Live, read_live
from tasks.report.registry import write_registry
from tasks.watching.drift import DriftReport, monitor
from tasks.watching.drift.history import remember
from tasks.watching.drift.page import headline, write_page
from tasks.watching.drift.reference import REFERENCE

DRIFT = "model-service.drift"
FEEDBACK_READY = "model-service.feedback-ready"
TOLD = "feedback-told"


class MonitorConfig(WatchSettings):
    """One look at the traffic of the live version."""

    hours: float = Field(default=24, gt=0)
    """How far back to look; never before the version went live."""
    enough_feedback: int = Field(default=200, gt=0)
    """Feedback, since that of the last such event, that is worth a retrain."""

    def watch(self) -> WatchSettings:
        return WatchSettings.model_validate(self.model_dump(include=set(WatchSettings.model_fields)))


@flow(name="monitor", validate_parameters=True)
def monitor_flow(config: MonitorConfig) -> dict[str, Any]:
    """Looks once, writes the page, and sends events on drift and on enough feedback.

    While nothing is live it says so and ends well: hourly looks begin with `make up`, before a first retrain.

    Returns:
        The report without its distributions; `state` alone, "nothing live", when there was nothing to look at.

    Raises:
        InputError: the live version was packaged without reference statistics.
    """
    with recorded():
        return _monitored(config)


def _monitored(config: MonitorConfig) -> dict[str, Any]:
    console = current()
    state = state_folder()
    live = read_live(state)
    if live is None:
        console.line("nothing live: no version was deployed yet, so there is no traffic to look at (make retrain)")
        return {"state": "nothing live"}
    report, page = look(config, live, state)
    _send_events(config, report, live, state)
    write_registry(state)
    for line in conclusion(report, page):
        console.line(line)
    return report.model_dump(mode="json", exclude={"distributions"})


@task(name="look")
def look(config: MonitorConfig, live: Live, state: Path) -> tuple[DriftReport, Path]:
    """The report and its page; artifacts show both."""
    since = max(live.since, datetime.now(UTC) - timedelta(hours=config.hours))
    folder, key = served_model(state, None)
    version = live.version.tag.partition(":")[2]
    report = monitor(folder / REFERENCE, state / "records", version, config.watch(), since, key=key)
    folder = state / "drift"
    page = write_page(report, remember(report, folder), folder)
    create_link_artifact(link=page.as_uri(), link_text=headline(report), key="drift")
    if report.statistics:
        create_table_artifact(table=[one.model_dump() for one in report.statistics], key="drift-statistics")
    return report, page


def _send_events(config: MonitorConfig, report: DriftReport, live: Live, state: Path) -> None:
    resource = {"prefect.resource.id": f"model-service.{live.version.tag}", "prefect.resource.name": live.version.tag}
    if report.state == "drift":
        emit_event(DRIFT, resource, payload={"alarms": report.alarms, "rows": report.rows, "version": report.version})
    waiting = feedback_since(state / "records", _told(state) or live.since)
    if len(waiting) >= config.enough_feedback:
        emit_event(FEEDBACK_READY, resource, payload={"feedback": len(waiting), "version": report.version})
        # The same feedback asks for a retrain once only, whatever comes of that.
        write_whole(state / "drift" / TOLD, datetime.fromtimestamp(waiting[-1].time, UTC).isoformat())


def _told(state: Path) -> datetime | None:
    file = state / "drift" / TOLD
    return datetime.fromisoformat(file.read_text()) if file.exists() else None


def conclusion(report: DriftReport, page: Path) -> list[str]:
    """What a person wants to know; the page's path is the last line."""
    lines = [f"{report.state}: {headline(report)}"]
    for name, figure in (
        ("accepted accuracy", report.accepted_accuracy),
        ("estimated accuracy", report.estimated_accuracy),
        ("by feedback", report.feedback_accuracy),
    ):
        if figure:
            lines.append(f"  {name:<19}{figure.value:.1%} ({100 * figure.low:.1f} to {100 * figure.high:.1f})")
    return [*lines, f"page: {page}"]


if __name__ == "__main__":
    log = state_folder() / "logs" / "monitor.log"
    command_line.run_flow(MonitorConfig, "python -m flows.monitor", log, monitor_flow)
