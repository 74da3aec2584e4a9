"""What a worker does for others while somebody sends without end, says nothing, or does not read."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from tests.bentos.serving.http.floods import FLOODS, HEAD, connected, flood, unread_streams, watched
from tests.bentos.text_classifier.servers import Process, worker

COLUMNS = ("attack", "megabytes", "seconds", "answers")
_DESCRIPTORS = 128


def floods(folder: Path, logs: Path, seconds: float) -> list[dict[str, Any]]:
    """For each attack the most megabytes that the process grew by, the longest `/livez` in seconds, and the status of
    a prediction meanwhile (0 for none).

    Args:
        folder: the model folder.
        seconds: how long an attack may take.
    """
    rows = []
    with worker(folder, logs, "--grace", "0") as served:
        _status(served)
        for name, sent in FLOODS.items():
            rows.append(_seen(f"endless {name}", served, lambda sent=sent: flood(served.port, *sent, seconds=seconds)))
        rows.append(_seen("16 streams that nobody reads", served, lambda: _unread(served, seconds)))
    with worker(folder, logs, "--grace", "0", descriptors=_DESCRIPTORS) as served:
        _status(served)
        for name, sent in _QUIET.items():
            with connected(served.port, 300, sent):
                attack = f"300 connections, {_DESCRIPTORS} descriptors: {name}"
                rows.append(_seen(attack, served, lambda: time.sleep(1)))
    return rows


_QUIET = {
    "nothing sent": b"",
    "half a head": b"GET /livez HTTP/1.1\r\nhost",
    "half a body": HEAD + b"content-length: 100\r\n\r\n{",
}


def _seen(name: str, served: Process, attack: Callable[[], object]) -> dict[str, Any]:
    with watched(served.url, served.process.pid) as seen:
        attack()
        status = _status(served)
    return {"attack": name, "megabytes": seen["megabytes"], "seconds": seen["seconds"], "answers": status}


def _unread(served: Process, seconds: float) -> None:
    clients = unread_streams(served.port, 16)
    time.sleep(seconds)
    for client in clients:
        client.close()


def _status(served: Process) -> int:
    with suppress(httpx.TransportError), httpx.Client(trust_env=False, timeout=20) as client:
        return client.post(f"{served.url}/predict", json={"texts": ["a goal"]}).status_code
    return 0


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The lines of a table of them."""
    yield "| " + " | ".join(COLUMNS) + " |"
    yield "|---" * len(COLUMNS) + "|"
    for row in rows:
        yield f"| {row['attack']} | {row['megabytes']:.0f} | {row['seconds']:.2f} | {row['answers']} |"
