"""What the service reads at start: `service.json` beside the model folder, and two environment variables."""

import importlib
import os
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from bentos.serving.http.connections import Limits

MODEL_VARIABLE = "MODEL_SERVICE_MODEL"
RECORDS_VARIABLE = "MODEL_SERVICE_RECORDS"
SETTINGS = "service.json"


class SettingsError(Exception):
    """`service.json` cannot be used; the message names the field and the reason."""


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a model is served, whatever it is. Every limit is of one worker process; a kind of service adds its own."""

    workers: int | None = None
    """Processes; one for each CPU that may be used when not set."""
    threads: int | None = None
    """ONNX Runtime threads of a worker; 1 when not set."""
    cpu: float | None = None
    """CPUs asked of the platform that runs the bento."""
    memory: str | None = None
    """Memory asked of that platform, such as 1Gi."""
    gpu: int = 0
    """Above 0 the CUDA provider is asked for."""
    strict_gpu: bool = False
    """Refuse to start when CUDA was asked for and is not there, instead of a loud warning."""
    max_queue: int = 256
    """Requests that may wait for the model; beyond it the answer is 429."""
    max_wait_seconds: float = 2.0
    """Expected wait for the model beyond which the answer is 429."""
    max_head_seconds: float = 10.0
    """Seconds in which a request's head must arrive, on a new connection from its beginning; after it the answer is
    408, or the connection is closed where nothing was sent."""
    max_idle_seconds: float = 75.0
    """Seconds between an answer and the next request on the same connection; longer than clients and proxies usually
    wait, so that these close first."""
    max_unread_seconds: float = 30.0
    """Seconds for which a client may read less than 1 KiB a second of an answer that waits for it."""
    max_body_seconds: float = 30.0
    """Seconds in which a body must arrive; after it the answer is 408."""
    max_pause_seconds: float = 300.0
    """Seconds that a stream may pause."""
    max_pending_mb: float = 64.0
    """Bytes of requests, and of the answers that they may get, held at one time; beyond it the answer is 429."""
    max_body_mb: float = 8.0
    """Size of a request; a stream may be of any size."""
    max_answer_mb: float = 32.0
    """Size of an answer, as far as it can be known before any work; beyond it the request is refused."""
    max_streams: int = 16
    """Streams open at one time."""
    records: str | None = None
    """Folder of feedback and prediction records; feedback is refused when not set."""
    personal_data: Literal["keep", "mask", "hash", "drop"] | None = None
    """What happens to e-mail addresses, card numbers and the like in recorded texts; kept when not set."""
    max_records_mb: float = 256.0
    """Size of each kind of record: old prediction records go, new feedback is refused."""
    access_log: bool = False
    """Record every request (time, method, path, status, milliseconds, id)."""


Chosen = TypeVar("Chosen", bound=ServiceSettings)


def settings_of(kind: str) -> type[ServiceSettings]:
    """The settings of a kind of service, by the name of its package."""
    return importlib.import_module(f"bentos.{kind}.settings").Settings


def model_folder(kind: str) -> Path:
    """The folder in MODEL_SERVICE_MODEL, or `model` beside the code of the kind of service."""
    chosen = os.environ.get(MODEL_VARIABLE)
    return Path(chosen) if chosen else Path(__file__).parent.parent / kind / "model"


def load_settings(file: Path, kind: type[Chosen]) -> Chosen:
    """The settings in `file`, all defaults when there is none; MODEL_SERVICE_RECORDS names the records' folder.

    Raises:
        SettingsError: the file is damaged or names an unknown setting.
    """
    settings = kind()
    if file.is_file():
        try:
            settings = msgspec.json.decode(file.read_bytes(), type=kind)
        except msgspec.MsgspecError as error:
            raise SettingsError(f"{file}: {error}") from error
    records = os.environ.get(RECORDS_VARIABLE)
    return msgspec.structs.replace(settings, records=records) if records else settings


def connection_limits(settings: ServiceSettings) -> Limits:
    return Limits(settings.max_head_seconds, settings.max_idle_seconds, settings.max_unread_seconds)
