"""Bodies and answers within bounds: the size of one, what is held of all at one time, how long a body may take.

What counts as held is what has arrived, so that who announces much and sends nothing keeps nobody out. One timer
watches over all bodies: a timer each would cost a tenth of a request to a small model.
"""

import asyncio
from typing import Any

from bentos.serving.http.asgi import Disconnected, Request
from bentos.serving.http.problems import Problem, limited

_LOOK_SECONDS = 1.0


class Intake:
    """Receives bodies for one event loop.

    Args:
        largest: bytes of one body.
        largest_answer: bytes of one answer.
        most: bytes of all bodies and answers that are held at one time; those of one request may always be held.
        seconds: how long a body may take to arrive.
    """

    def __init__(self, largest: int, largest_answer: int, most: int, seconds: float) -> None:
        self._largest = largest
        self._largest_answer = largest_answer
        self._most = most
        self._seconds = seconds
        self._held = 0
        self._looks = 0
        self._arriving: dict[asyncio.Task[Any], int] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def body(self, request: Request) -> bytes:
        """The whole body, held until `release`.

        Raises:
            Problem: 408, 413 or 429 when a bound is passed.
            Disconnected: the client left.
        """
        if announced(request) > self._largest:
            raise self._too_large()
        task = asyncio.current_task()
        assert task
        self._arriving[task] = self._looks
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._look)
        parts: list[bytes] = []
        more = True
        try:
            while more:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise Disconnected
                part = message.get("body", b"")
                more = message.get("more_body", False)
                self._hold(request, len(part))
                parts.append(part)
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            task.uncancel()
            raise late(self._seconds) from None
        finally:
            del self._arriving[task]
            self._late.discard(task)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def admit(self, request: Request, answer: int, field: str | None) -> None:
        """Holds room for an answer of at most so many bytes until `release`.

        Args:
            field: what of the request makes the answer so large.

        Raises:
            Problem: 422 when it may be too large, 429 when too much is held.
        """
        if answer > self._largest_answer:
            most = f"of at most {self._largest_answer:,} bytes"
            raise Problem(422, f"the answer may take {answer:,} bytes, {most}: ask for less at one time", field)
        self._room(request, answer)

    def release(self, request: Request) -> None:
        """Gives back what is held for the request."""
        self._held -= request.held
        request.held = 0

    def _hold(self, request: Request, size: int) -> None:
        if request.held + size > self._largest:
            raise self._too_large()
        self._room(request, size)

    def _room(self, request: Request, size: int) -> None:
        if self._held > request.held and self._held + size > self._most:
            raise limited("too many bytes of requests are held; try again in 1 s", b"bytes", 1)
        self._held += size
        request.held += size

    def _look(self) -> None:
        """Ends what takes too long; once a second while something arrives."""
        self._looks += 1
        for task, since in self._arriving.items():
            if (self._looks - since) * _LOOK_SECONDS > self._seconds and task not in self._late:
                self._late.add(task)
                task.cancel()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_LOOK_SECONDS, self._look) if self._arriving else None

    def _too_large(self) -> Problem:
        return Problem(413, f"the body is larger than {self._largest} bytes; send less, or use /predict/stream")


def announced(request: Request) -> int:
    """Bytes of the body as its header says, 0 when it says nothing of use."""
    length = request.header(b"content-length")
    # Of a number that no body can have, Python would refuse to read more than some thousand digits.
    return int(length[:20]) if length is not None and length.isdigit() else 0


def late(seconds: float) -> Problem:
    """408: the request has not arrived in time."""
    return Problem(408, f"the request did not arrive within {seconds:g} s", headers=((b"connection", b"close"),))
