"""HTTP as uvicorn speaks it, with each answer in one piece and within bounds.

A head, a chunk's header and trailers have bounds of size, and what stands behind a request is read once that is
answered: the parser is given at most one request at a time. `connections.py` has the bounds of time.
"""

import asyncio
from typing import Any, Literal, cast

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from bentos.serving.http.connections import MOST_HELD, Connections
from bentos.serving.http.joined_writes import JoinedWrites
from bentos.serving.http.problems import Problem, limited

MOST_HEAD = 32_768
"""Bytes of a request's head."""

MOST_URL = 16_384
MOST_HEADERS = 128

_MOST_UNREAD = 524_288
"""Bytes that wait behind a request at work: two reads of uvloop, which reads once more after it was told to pause."""

_AHEAD = "too much was sent ahead of the answers"
_MOST_LINGERING = 4_000_000
_MOST_WAITING = 2
_VERSION = b"HTTP/"


class HttpProtocol(HttpToolsProtocol):
    """One connection. Use `bounded`, which gives all connections of an event loop their bounds.

    uvicorn writes the head and the body of an answer apart: a system call and a packet each, which is a fifth
    of a request to a small model.
    """

    shared: Connections
    parser: Any
    url: bytes

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ws_protocol_class = None  # who is handed on to another protocol is out of bounds
        self.number = self.since = self.unsent = self.stalled = 0
        self.ending = self.reserved = False
        self._arriving = False
        self._silent = 0
        self._unread = b""
        self._at = 0
        self._held = 0

    @property
    def state(self) -> Literal["head", "idle", "work"]:
        if self.cycle is not None and not (self.cycle.response_complete or self.cycle.disconnected):
            return "work"
        return "head" if self.cycle is None or self._silent or self._arriving else "idle"

    @property
    def blocked(self) -> bool:
        return self.flow.write_paused

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(cast(asyncio.Transport, JoinedWrites(transport, self.loop)))
        self.shared.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.shared.discard(self)
        self.shared.held -= self._held
        self._held, self._unread = 0, b""
        super().connection_lost(exc)
        cycle = self.cycle
        if cycle is not None and cycle.response_started and not cycle.response_complete:
            cycle.flow = cast(FlowControl, _Left())

    def resume_writing(self) -> None:
        self.unsent = 0
        super().resume_writing()

    def expire(self) -> None:
        if self._silent and not self._arriving:
            self._refuse(Problem(408, f"the request's head did not arrive within {self.shared.limits.head:g} s"))
        elif self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        cycle = self.cycle
        if self._unread or self.ending or not (cycle is None or cycle.more_body or cycle.response_complete):
            self._keep(data)
        elif data.count(_VERSION) < 2:
            self._feed(data)
        else:
            self._unread = data
            self._read_on()

    def _answering(self) -> bool:
        """Whether a request has arrived whole and its answer has not left."""
        cycle = self.cycle
        return cycle is not None and not cycle.more_body and not cycle.response_complete

    def _keep(self, data: bytes) -> None:
        if self.ending:
            # Read and forgotten: a close with bytes unread would cut off the refusal on its way.
            self._silent += len(data)
            if self._silent > _MOST_LINGERING:
                self.transport.abort()
            return
        self.flow.pause_reading()
        if not self.cycle.keep_alive:
            return
        self._unread, self._at = self._unread[self._at :] + data, 0
        if len(self._unread) > _MOST_UNREAD:
            self._refuse(Problem(400, _AHEAD))
        else:
            self._hold()

    def _read_on(self) -> None:
        """Reads what is unread as far as the next request whose answer is to be waited for.

        A piece that holds one protocol version holds the end of one request at most.
        """
        view = memoryview(self._unread)
        while self._unread and not self._answering():
            begin, end = self._at, self._unread.find(_VERSION, self._at + 1)
            if end < 0:
                self._unread, self._at, end = b"", 0, len(view)
            else:
                self._at = end
            self._feed(view[begin:end])
        if self._unread:
            self.flow.pause_reading()
        if not self.ending:
            self._hold()

    def _feed(self, data: bytes | memoryview) -> None:
        if not self._silent and not self._arriving:
            self.since = self.shared.looks
        self._silent += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # Not taken: the request is answered as any other, and the connection goes on.
            if rest := data[upgrade.args[0] :]:
                self._feed(rest)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, Problem) else Problem(400, f"this is not HTTP: {error}"))
        else:
            if self._silent > MOST_HEAD:
                self._refuse(_too_large())
            elif self._silent or self._held:
                self._hold()

    def _hold(self) -> None:
        """Counts what of this connection is held, and refuses when all connections hold too much."""
        held = self._silent + len(self._unread)
        self.shared.held += held - self._held
        self._held = held
        if held and self.shared.held > MOST_HELD:
            self._refuse(limited("too many bytes of requests are held; try again in 1 s", b"bytes", 1))

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > MOST_URL:
            raise Problem(414, f"the address is longer than {MOST_URL} bytes; send the rest in a body")

    # The next ones are uvicorn's, written out: calling them once more is a measurable part of a small request.

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._arriving:
            raise Problem(400, "trailers are not taken")
        if len(self.headers) >= MOST_HEADERS:
            raise _too_large()
        name = name.lower()
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._silent = 0
        self._arriving = False
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.message_event.set()

    def on_headers_complete(self) -> None:
        if self._silent > MOST_HEAD and sum(len(name) + len(value) for name, value in self.headers) > MOST_HEAD:
            raise _too_large()
        if len(self.pipeline) >= _MOST_WAITING:
            raise Problem(400, _AHEAD)
        if self.reserved and self.url.partition(b"?")[0].decode("latin-1") not in self.shared.probes:
            raise Problem(503, "no connections are left; try again in a second", headers=((b"retry-after", b"1"),))
        self._silent = 0
        self._arriving = True
        super().on_headers_complete()
        if self.reserved:
            self.cycle.keep_alive = False

    def on_response_complete(self) -> None:
        # A batch of the model may be next in the event loop: a finished answer does not wait for it.
        cast(JoinedWrites, self.transport).flush()
        self.since = self.shared.looks
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._unread:
            self._read_on()
        if not self._unread and not self.pipeline:
            self.flow.resume_reading()

    def _refuse(self, problem: Problem) -> None:
        """Answers with `problem` in place of the request that arrives, where that can still be answered, and ends."""
        if self.ending or self.transport.is_closing():
            return
        self.ending = True
        self.since = self.shared.looks
        self._unread, self._silent = b"", 0
        self.shared.held -= self._held
        self._held = 0
        self.parser = None
        cycle = self.cycle
        if self.pipeline or self._answering():
            # What is refused comes after the request at work, whose answer is the last one.
            self.cycle.keep_alive = False
            return
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self.transport.close()
                return
        self.headers = []
        response = problem.response()
        headers = [
            *self.server_state.default_headers,
            *response.headers,
            (b"content-length", b"%d" % len(response.body)),
            (b"connection", b"close"),
        ]
        lines = [STATUS_LINE[response.status], *(b"%b: %b\r\n" % header for header in headers), b"\r\n", response.body]
        self.transport.write(b"".join(lines))
        if self.transport.can_write_eof():
            cast(JoinedWrites, self.transport).flush()
            self.transport.write_eof()
            self.flow.resume_reading()
        else:
            self.transport.close()


def _too_large() -> Problem:
    return Problem(431, f"the request's head is larger than {MOST_HEAD} bytes or {MOST_HEADERS} headers")


def bounded(shared: Connections) -> type[HttpProtocol]:
    """The protocol of all connections of one event loop."""
    return type("BoundedHttpProtocol", (HttpProtocol,), {"shared": shared})


class _Left:
    """Stands for the flow of a connection that is lost: uvicorn asks for it before each message of an answer.

    uvicorn lets an application go on, which would classify for nobody whatever of a stream had been read.
    """

    @property
    def write_paused(self) -> bool:
        raise ConnectionResetError("the client has left")
