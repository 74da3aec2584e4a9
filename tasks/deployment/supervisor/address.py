"""Where the service answers: as asked for, else where the live version does, else on port 3000 of loopback."""

from pathlib import Path
from typing import NamedTuple

from tasks.base.settings import ServeSettings
from tasks.deployment.supervisor import lifecycle
from tasks.deployment.supervisor.record import read_live

HOST = "127.0.0.1"
PORT = 3000


class Address(NamedTuple):
    """Port 0 stands for any."""

    host: str
    port: int

    def same(self, other: "Address") -> bool:
        return self.host == other.host and (self.port == other.port or 0 in (self.port, other.port))


def address_of(serve: ServeSettings) -> Address:
    """Where a version with these settings is served."""
    return Address(serve.host or HOST, PORT if serve.port is None else serve.port)


def standing(state: Path) -> Address | None:
    """Where the live version answers, or would once it is started; None when nothing was ever deployed.

    Raises:
        DeploymentError: the record of what is live is damaged.
    """
    live = read_live(state)
    if live is None:
        return None
    recorded, running = address_of(live.version.serve), lifecycle.status(state)
    # One that took any port keeps it while it runs, and may find it taken when it is started again.
    if running is None or recorded.port == 0:
        return recorded
    return Address(running["host"], running["port"])


def placed(serve: ServeSettings, state: Path) -> ServeSettings:
    """The settings with host and port: what is not asked for stays as it is.

    Raises:
        DeploymentError: the record of what is live is damaged.
    """
    host, port = standing(state) or Address(HOST, PORT)
    return serve.model_copy(update={"host": serve.host or host, "port": port if serve.port is None else serve.port})
