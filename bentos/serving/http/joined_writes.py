"""Writes of one turn of the event loop sent in one piece."""

import asyncio
from typing import Any

_MOST_JOINED = 65_536


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
        if self._held > _MOST_JOINED:
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
