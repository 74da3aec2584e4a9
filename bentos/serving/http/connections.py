"""The bounds of connections: how long each may take over what it is at, and which one goes when descriptors run out.

One timer looks at all connections of an event loop: a timer each would cost a tenth of a request to a small model.
"""

import asyncio
import resource
from collections.abc import Collection
from typing import Literal, Protocol

import msgspec

LOOK_SECONDS = 1.0
"""Between two looks; what is allowed is counted in looks, and so is at most one longer."""

MOST_HELD = 16_000_000
"""Bytes of unfinished heads, and of what waits behind a request at work, of all connections."""

_SPARE = 32
"""Descriptors that are left to health checks and to the process's own files."""

_LEAST_BYTES = 1024
"""Bytes a second that a client must read of an answer."""

_LINGER_SECONDS = 2.0
"""For a refused client to read why, which a close with bytes of it unread would cut off."""


class Limits(msgspec.Struct, frozen=True):
    """In seconds."""

    head: float = 10.0
    """For a request's head to arrive: the first from the connection on, later ones from their first byte on."""
    idle: float = 75.0
    """Between an answer and the next request."""
    unread: float = 30.0
    """For a client that does not read its answer."""


class Connection(Protocol):
    """What is looked at of a connection."""

    number: int
    """How many came before it."""
    since: int
    """The look at which it began to wait for what it waits for."""
    unsent: int
    """Bytes that its client had not read at the look `stalled`; 0 while nothing waits."""
    stalled: int
    ending: bool
    """Whether it was refused and only waits for its client to read why."""
    reserved: bool
    """Whether it is answered probes alone."""
    transport: asyncio.Transport

    @property
    def state(self) -> Literal["head", "idle", "work"]:
        """Nothing asked yet or a request half arrived; all answered; or an answer at work."""
        ...

    @property
    def blocked(self) -> bool:
        """Whether its client has to read before more is written."""
        ...

    def expire(self) -> None:
        """Ends it because it took too long."""
        ...


class Connections:
    """All connections of one event loop.

    Args:
        probes: paths that are answered even when no descriptors are left for others.
    """

    def __init__(self, limits: Limits, probes: Collection[str]) -> None:
        self.limits = limits
        self.probes = frozenset(probes)
        self.held = 0
        self.looks = 0
        self._open: set[Connection] = set()
        self._made = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, connection: Connection) -> None:
        """Begins to look at it; where descriptors run out, another makes room, or it is answered probes alone."""
        self._made += 1
        connection.number = self._made
        connection.since = self.looks
        descriptor = connection.transport.get_extra_info("socket").fileno()
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        beyond = descriptor + 1 - (most - min(_SPARE, most // 4))
        if most != resource.RLIM_INFINITY and beyond > 0:
            connection.reserved = not self._make_room(beyond)
        self._open.add(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def discard(self, connection: Connection) -> None:
        self._open.discard(connection)

    def _make_room(self, count: int) -> bool:
        """Closes at least `count` that wait longest, first who never asked anything; False when there are fewer.

        Some more than needed, so that finding them costs little for each.
        """
        waiting = [one for one in self._open if one.state != "work" and not one.transport.is_closing()]
        waiting.sort(key=lambda one: (one.state == "idle", one.since, one.number))
        for one in waiting[: count + len(waiting) // 64]:
            one.transport.abort()
        return len(waiting) >= count

    def _look(self) -> None:
        self.looks += 1
        for one in list(self._open):
            if self.looks - one.since > 1:
                self._check(one)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(LOOK_SECONDS, self._look) if self._open else None

    def _check(self, one: Connection) -> None:
        waited = (self.looks - one.since) * LOOK_SECONDS
        if one.blocked or one.transport.is_closing():
            self._check_reader(one)
        elif (state := one.state) == "work":
            pass
        elif one.ending:
            if waited > _LINGER_SECONDS:
                one.transport.abort()
        elif waited > (self.limits.head if state == "head" else self.limits.idle):
            one.expire()

    def _check_reader(self, one: Connection) -> None:
        unsent = one.transport.get_write_buffer_size()
        seconds = (self.looks - one.stalled) * LOOK_SECONDS
        if one.unsent == 0 or one.unsent - unsent > _LEAST_BYTES * seconds:
            one.unsent, one.stalled = unsent, self.looks
        elif seconds > self.limits.unread:
            one.transport.abort()
