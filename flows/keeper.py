"""Keeps a local system alive: `make up` starts it beside server and worker, `make down` ends it.

Every few seconds it starts again what has died (server, worker), puts right what an outage left (`flows.settling`),
and emits events: the source of `retrain-on-data` has changed, a version was withdrawn or rolled back.
"""

import logging
import signal
import sys
import threading

import httpx
import psutil
import sqlalchemy.exc
from prefect.events import emit_event

from flows import system
from flows.api import listed
from flows.arrivals import Watch, fingerprint
from flows.changes import tell_changes
from flows.environment import make_home, prefect_home
from flows.settling import settle
from tasks.base.errors import PipelineError
from tasks.base.state import state_folder
from tasks.data.sources import shown

SECONDS = 10.0
DATA_CHANGED = "model-service.data-changed"
WATCHING = "retrain-on-data"

log = logging.getLogger("keeper")


def look(watch: Watch) -> None:
    """One round over everything that is kept."""
    url = system.start_server()
    # Before there is a worker again that would take up all that is overdue.
    for change in settle():
        log.warning("%s", change)
    system.start_worker(deploy=False)
    for event in tell_changes(state_folder(), prefect_home() / "told.json"):
        log.warning("told: %s", event)
    for deployment in listed(url, "deployments"):
        source = deployment["parameters"].get("config", {})
        if deployment["name"] != WATCHING or "source" not in source:
            continue
        try:
            seen = fingerprint(source["source"], source.get("query"))
        except sqlalchemy.exc.SQLAlchemyError as error:
            log.warning("the source of %s cannot be asked: %s", WATCHING, error)
            continue
        name = shown(source["source"])
        if watch.changed(name, seen):
            log.warning("%s has changed", name)
            emit_event(
                DATA_CHANGED,
                resource={"prefect.resource.id": f"model-service.source.{name}"},
                payload={"source": name},
            )


def main() -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    # Under systemd nobody else does.
    make_home()
    system.Background("keeper").remember(psutil.Process())
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    watch = Watch(prefect_home() / "watched.json")
    while not ended.wait(SECONDS):
        try:
            look(watch)
        except (PipelineError, httpx.HTTPError, ValueError) as error:
            # What cannot be mended now is tried again at the next round.
            log.error("%s", error)
    sys.exit(0)


if __name__ == "__main__":
    main()
