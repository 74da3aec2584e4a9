"""How commands reach the supervisor: one JSON line there and one back, over a Unix socket of the state folder."""

import asyncio
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.base.errors import DeploymentError

SOCKET = "control.sock"
logger = logging.getLogger(__name__)

_LIMIT = 1 << 20

Answer = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class SupervisorEnded(DeploymentError):
    """The supervisor died while it was at work on a command."""


def folder(state: Path) -> Path:
    """Where the supervisor keeps its socket and logs."""
    return state / "serving"


def ask(state: Path, command: str, timeout: float, **arguments: Any) -> dict[str, Any]:
    """The supervisor's answer to a command.

    Raises:
        ConnectionError: no supervisor listens.
        DeploymentError: the command failed, or took more than `timeout` seconds.
        SupervisorEnded: the supervisor died over it.
    """
    with _reachable(state) as path, socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(path)
        except OSError as error:
            raise ConnectionError("no supervisor listens") from error
        client.settimeout(timeout)
        try:
            client.sendall(json.dumps({"command": command} | arguments).encode() + b"\n")
            with client.makefile("rb") as stream:
                line = stream.readline()
        except TimeoutError as error:
            raise DeploymentError(f"the supervisor did not finish '{command}' within {timeout:g} s") from error
        except OSError:
            line = b""
    if not line:
        raise SupervisorEnded(f"the supervisor ended during '{command}'; it starts again by itself: try again")
    answer = json.loads(line)
    if "error" in answer:
        raise DeploymentError(answer["error"])
    return answer


async def serve(state: Path, answer: Answer) -> asyncio.Server:
    """Answers commands until closed. A `DeploymentError` becomes the client's own."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            line = await reader.readline()
            if line:
                writer.write(json.dumps(await _answered(answer, json.loads(line))).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            return  # whoever asked has left; the command was carried out all the same
        finally:
            writer.close()

    with _reachable(state) as path:
        Path(path).unlink(missing_ok=True)
        return await asyncio.start_unix_server(handle, path, limit=_LIMIT)


async def _answered(answer: Answer, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return await answer(request)
    except DeploymentError as error:
        return {"error": str(error)}
    except Exception as error:
        logger.exception("the command %s failed", request)
        return {"error": f"the supervisor failed over '{request['command']}' ({error!r}); its log has more"}


@contextmanager
def _reachable(state: Path) -> Iterator[str]:
    """The socket's path, through a descriptor of its folder: a Unix socket's path may have 107 bytes at most."""
    place = folder(state)
    place.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
