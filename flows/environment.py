"""Environment that Prefect and the libraries must see before they are imported.

Everything is a default: what a person has set stays. Child processes (server, worker, flow runs)
inherit it, so that all of them speak to the same server and keep their state in the same folder.
"""

import hashlib
import json
import os
import secrets
import urllib.error
import urllib.request
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from bentos import telemetry
from bentos.serving.process import first_written
from flows.identity import living
from tasks.base.errors import InputError
from tasks.base.state import check_writable, open_state, state_folder

SERVER_RECORD = "server.json"
SERVER_AUTH, CLIENT_AUTH = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"


def defaults() -> dict[str, str]:
    """Variable by name; see the comments for why each is needed."""
    return {
        "PREFECT_HOME": str(prefect_home()),
        # A first start on two slow cores takes longer than the default of 20 s (prefect#16397).
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        # No page of another origin may ask; the server's own needs no permission.
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": "none",
        **telemetry.variables(),
        # SQLite waits for a writer instead of failing (prefect#19771).
        "PREFECT_SERVER_DATABASE_TIMEOUT": "60",
        "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
        # The database keeps a month of runs and a week of events (prefect#16054).
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": "P30D",
        "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P7D",
        # One run ahead: after an outage there is one late run to catch up with, not a pile (prefect#16984).
        "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS": "1",
        "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "1",
        # A run's hold on its slot outlives a restart of the server; without it the run is cancelled minutes later.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # A run whose process is gone is noticed within two minutes.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        # Logs go to the API and the run's log file; the terminal shows our own lines.
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        "PREFECT_CLI_PROMPT": "false",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_BACKEND": "tensorflow",
    }


def prefect_home() -> Path:
    """The folder of Prefect's database, profiles and results."""
    return state_folder() / "prefect"


def prepare(environ: MutableMapping[str, str] = os.environ) -> None:
    """Sets what is missing; picks the kept local server while it lives, else Prefect's temporary one.

    One that lives and does not answer is not passed over: a second server on its database would wait for its locks.
    """
    for name in ("MODEL_SERVICE_STATE", "BENTOML_HOME"):
        # Child processes work in other folders.
        if environ.get(name):
            environ[name] = str(Path(environ[name]).absolute())
    for name, value in defaults().items():
        environ.setdefault(name, value)
    # A server that a person named is not told the secret of ours.
    if environ.get("PREFECT_API_URL") in (None, _record().get("url")):
        try:
            make_home()
        except InputError:
            # Every command makes it too, and says then what is wrong with the folder.
            return
        use(_living_server(), environ)


def use(url: str | None, environ: MutableMapping[str, str] = os.environ) -> None:
    """Makes this process and its children clients of our own server at `url`; of a temporary one when None."""
    if url:
        environ["PREFECT_API_URL"] = url
    environ.setdefault(SERVER_AUTH, secret())
    environ[CLIENT_AUTH] = environ[SERVER_AUTH]


def secret() -> str:
    """USER:PASSWORD by which our Prefect servers know their clients: what a person has set, else a random one."""
    if chosen := os.environ.get(SERVER_AUTH):
        return chosen
    return first_written(prefect_home() / "api.secret", f"admin:{secrets.token_urlsafe(32)}".encode()).decode()


def secret_s_hash() -> str:
    """Tells in a process's record by which secret it runs."""
    return hashlib.sha256(secret().encode()).hexdigest()[:16]


def _record() -> dict[str, Any]:
    try:
        return json.loads((prefect_home() / SERVER_RECORD).read_text())
    except (OSError, ValueError):
        return {}


def make_home() -> None:
    """Makes the state folder and Prefect's: Prefect makes none above its own, and waits for a server that cannot start.

    Raises:
        InputError: they cannot be written to.
    """
    check_writable(prefect_home(), "the state folder, which MODEL_SERVICE_STATE chooses")
    open_state(state_folder())
    prefect_home().mkdir(parents=True, exist_ok=True)


def kept_server() -> str | None:
    """The API address of the local server that `make up` or `make retrain` started.

    None when none answers, or it runs without our secret: `make up` replaces that one.
    """
    url = _living_server()
    if url is None:
        return None
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as answer:
            return url if answer.status == 200 else None
    except urllib.error.HTTPError as error:
        # It lives; its database is locked for a moment.
        return url if error.code == 503 else None
    except (OSError, ValueError):
        return None


def _living_server() -> str | None:
    known = _record()
    # Of a server that has died another program may have taken the port.
    if living(known) is None or known.get("secret") != secret_s_hash():
        return None
    return known.get("url")
