import asyncio
import socket
from collections.abc import Callable
from typing import Any

from bentos.serving.http.connections import Connections, Limits
from bentos.serving.http.joined_writes import JoinedWrites
from bentos.serving.http.protocol import bounded


class Wire:
    """A transport that remembers its writes."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def written(steps: Callable[[Any], None]) -> tuple[list[bytes], list[bytes]]:
    """What is on the wire right after `steps`, and a turn of the event loop later."""

    async def play() -> tuple[list[bytes], list[bytes]]:
        wire = Wire()
        steps(JoinedWrites(wire, asyncio.get_running_loop()))  # type: ignore[arg-type]  # what it uses of one
        before = list(wire.writes)
        await asyncio.sleep(0)
        return before, wire.writes

    return asyncio.run(play())


def test_what_is_written_in_one_turn_is_sent_once_at_its_end() -> None:
    def steps(joined: JoinedWrites) -> None:
        joined.write(b"head ")
        joined.write(b"body")

    assert written(steps) == ([], [b"head body"])


def test_a_close_sends_first_what_was_written() -> None:
    def steps(joined: JoinedWrites) -> None:
        joined.write(b"last words")
        joined.close()

    assert written(steps) == ([b"last words"], [b"last words"])


def test_who_writes_much_in_one_turn_is_not_held_back() -> None:
    def steps(joined: JoinedWrites) -> None:
        for _ in range(3):
            joined.write(bytes(50_000))

    before, after = written(steps)
    assert [len(data) for data in before] == [100_000]
    assert [len(data) for data in after] == [100_000, 50_000]


def test_nothing_is_sent_to_a_client_that_has_left() -> None:
    def steps(joined: Any) -> None:
        joined.write(b"too late")
        joined._transport.closed = True

    assert written(steps) == ([], [])


def test_uvicorn_is_given_the_joined_transport() -> None:
    """Pinned: uvicorn hands its connections' transport to `connection_made`, writes to nothing else, and says when an
    answer is complete: then it is sent, before a batch of the model that may be next in the event loop."""

    async def play() -> list[bytes]:
        import uvicorn
        from uvicorn.server import ServerState

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
            await send({"type": "http.response.body", "body": b"body"})
            served.append(list(wire.writes))

        served: list[list[bytes]] = []
        config = uvicorn.Config(application, lifespan="off")
        config.load()
        wire = Wire()
        wire.get_extra_info = {"socket": listener, "sockname": None, "peername": None}.get  # type: ignore[attr-defined]
        protocol_of = bounded(Connections(Limits(), ()))
        protocol = protocol_of(config, ServerState(), {}, asyncio.get_running_loop())
        protocol.connection_made(wire)  # type: ignore[arg-type]  # what it uses of one
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        while not served:
            await asyncio.sleep(0)
        return served[0]

    with socket.create_server(("127.0.0.1", 0)) as listener:
        (answer,) = asyncio.run(play())
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\nbody")
