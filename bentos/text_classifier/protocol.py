"""HTTP as uvicorn speaks it, with each answer in one piece."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_HELD = 65_536


class HttpProtocol(HttpToolsProtocol):
    """uvicorn writes the head and the body of an answer apart: a system call and a packet each, which is a fifth
    of a request to a small model."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(cast(asyncio.Transport, JoinedWrites(transport, self.loop)))

    def on_response_complete(self) -> None:
        # A batch of the model may be next in the event loop: a finished answer does not wait for it.
        cast(JoinedWrites, self.transport).flush()
        super().on_response_complete()


class JoinedWrites:
    """A transport that sends what was written when it is flushed, at the latest at the end of the event loop's turn.

    Only for who writes by `write` alone, as uvicorn does.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._call_soon = loop.call_soon
        self._parts: list[bytes] = []
        self._held = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._parts:
            self._call_soon(self.flush)
        self._parts.append(data)
        self._held += len(data)
        # Who writes without an end within one turn has to meet the transport's back-pressure.
        if self._held > _MOST_HELD:
            self.flush()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        """Sends what is held."""
        data = b"".join(self._parts)
        self._parts.clear()
        self._held = 0
        if data and not self._transport.is_closing():
            self._transport.write(data)
