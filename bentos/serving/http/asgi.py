"""The few ASGI pieces that the service needs: a request, a response, a stream."""

import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import aclosing
from itertools import count
from typing import Any, Protocol

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON_TYPE = (b"content-type", b"application/json")


class Disconnected(Exception):
    """The client left before its answer."""


class Response:
    """Status, body and headers without content-length."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes, headers: Headers) -> None:
        self.status = status
        self.body = body
        self.headers = headers


class Stream:
    """A 200 answer that is sent as it is made."""

    __slots__ = ("chunks", "headers", "status")

    def __init__(self, chunks: AsyncGenerator[bytes, None], headers: Headers) -> None:
        self.status = 200
        self.chunks = chunks
        self.headers = headers


class Cost(msgspec.Struct, frozen=True, gc=False):
    """What a request asks for, counted on its decoded body before any work is done.

    `answer` is the most bytes that its answer may have, `field` the part of the request that makes it so large.
    """

    texts: int = 0
    explanations: int = 0
    answer: int = 0
    field: str | None = None


class Caller(Protocol):
    """Who asks; `str()` names it in records."""

    @property
    def decimals(self) -> int | None:
        """Decimals that scores are rounded to for this caller; as they are when None."""
        ...

    def check_size(self, size: int) -> None:
        """Refuses a body of more bytes than this caller may send."""
        ...

    def spend(self, cost: Cost) -> None:
        """Counts what is about to be answered; refuses what this caller may not have, and then counts nothing."""
        ...


class Request:
    """One HTTP request; `id` names it in headers and records, `held` counts the bytes held for body and answer."""

    __slots__ = ("caller", "held", "id", "receive", "scope")

    def __init__(self, scope: Scope, receive: Receive, request_id: str) -> None:
        self.scope = scope
        self.receive = receive
        self.id = request_id
        self.caller: Caller | None = None
        self.held = 0

    @property
    def decimals(self) -> int | None:
        """Decimals that scores are rounded to for who asks; as they are when None."""
        return None if self.caller is None else self.caller.decimals

    def header(self, name: bytes) -> bytes | None:
        """The header's value by its lower-case name."""
        for key, value in self.scope["headers"]:
            if key == name:
                return value
        return None

    def client_name(self) -> str:
        """The caller where a guard named one, else the address."""
        if self.caller is not None:
            return str(self.caller)
        client = self.scope.get("client")
        return client[0] if client else ""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it arrives; raises `Disconnected`."""
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            more = message.get("more_body", False)
            yield message.get("body", b"")


async def send_response(send: Send, response: Response, extra: Headers, head: bool = False) -> None:
    headers = [*response.headers, *extra]
    if response.status != 304:
        headers.append((b"content-length", b"%d" % len(response.body)))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else response.body})


async def send_stream(send: Send, stream: Stream, extra: Headers) -> None:
    """Sends the stream as it is made, and ends its making whatever happens; raises `Disconnected`."""
    async with aclosing(stream.chunks) as chunks:
        try:
            await send({"type": "http.response.start", "status": stream.status, "headers": [*stream.headers, *extra]})
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except ConnectionResetError:
            raise Disconnected from None


def request_ids() -> Callable[[], str]:
    """Ids that no other process gives: a random beginning and a count."""
    beginning = f"{secrets.token_hex(5)}{os.getpid():x}"
    numbers = count(1)
    return lambda: f"{beginning}-{next(numbers):x}"
