"""What bodies hold, and what is refused when too much is held."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from bentos.serving.http.asgi import Disconnected, Message, Request
from bentos.serving.http.intake import Intake, announced
from bentos.serving.http.problems import Problem


class Sent:
    """A request whose body arrives piece by piece, when it is told to."""

    def __init__(self, announced: int | None = None) -> None:
        headers = [] if announced is None else [(b"content-length", b"%d" % announced)]
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.request = Request({"type": "http", "headers": headers}, self.messages.get, "1")

    def send(self, part: bytes, *, more: bool = False) -> None:
        self.messages.put_nowait({"type": "http.request", "body": part, "more_body": more})

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})


async def started(intake: Intake, sent: Sent) -> "asyncio.Task[bytes]":
    task = asyncio.create_task(intake.body(sent.request))
    for _ in range(5):
        await asyncio.sleep(0)
    return task


async def refused(work: Coroutine[Any, Any, bytes]) -> int:
    with pytest.raises(Problem) as problem:
        await work
    return problem.value.details.status


def test_only_what_has_arrived_is_held_and_only_until_it_is_released() -> None:
    async def story() -> None:
        intake = Intake(largest_answer=1000, largest=100, most=150, seconds=30)
        slow, other, late = Sent(100), Sent(100), Sent()
        waiting = await started(intake, slow)
        other.send(b"x" * 100)
        assert await intake.body(other.request) == b"x" * 100
        late.send(b"x" * 60)
        assert await refused(intake.body(late.request)) == 429
        intake.release(other.request)
        slow.send(b"a", more=True)
        slow.send(b"b")
        assert await waiting == b"ab"
        again = Sent()
        again.send(b"x" * 100)
        assert len(await intake.body(again.request)) == 100

    asyncio.run(story())


def test_what_was_held_of_a_refused_or_broken_body_is_released() -> None:
    async def story() -> None:
        intake = Intake(largest_answer=1000, largest=100, most=100, seconds=30)
        for _ in range(5):
            large, gone = Sent(), Sent()
            large.send(b"x" * 90, more=True)
            large.send(b"x" * 90, more=True)
            assert await refused(intake.body(large.request)) == 413
            intake.release(large.request)
            gone.send(b"x" * 90, more=True)
            gone.leave()
            with pytest.raises(Disconnected):
                await intake.body(gone.request)
            intake.release(gone.request)
        assert await refused(intake.body(Sent(101).request)) == 413

    asyncio.run(story())


def test_a_body_alone_may_be_larger_than_all_together() -> None:
    async def story() -> None:
        sent = Sent()
        sent.send(b"x" * 60, more=True)
        sent.send(b"x" * 60)
        assert len(await Intake(largest_answer=1000, largest=200, most=50, seconds=30).body(sent.request)) == 120

    asyncio.run(story())


def test_a_late_body_is_refused_and_a_task_that_is_cancelled_otherwise_stays_cancelled() -> None:
    async def story() -> None:
        intake = Intake(largest_answer=1000, largest=100, most=100, seconds=0.5)
        assert await refused(intake.body(Sent(10).request)) == 408
        waiting = await started(intake, Sent(10))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(story())


def test_room_for_an_answer_counts_as_what_is_held() -> None:
    async def run() -> None:
        intake = Intake(largest=100, largest_answer=200, most=150, seconds=30)
        first, second = Sent(), Sent()
        intake.admit(first.request, 180, "texts")
        with pytest.raises(Problem) as busy:
            intake.admit(second.request, 1, "texts")
        assert busy.value.details.status == 429
        intake.release(first.request)
        intake.admit(second.request, 140, "texts")
        intake.release(second.request)
        with pytest.raises(Problem) as too_large:
            intake.admit(first.request, 201, "top_k")
        assert (too_large.value.details.status, too_large.value.details.field) == (422, "top_k")

    asyncio.run(run())


@pytest.mark.parametrize(
    ("header", "size"), [(b"12", 12), (b"", 0), (b"-1", 0), (b"1e3", 0), (b"\xb2", 0), (b"9" * 5000, int("9" * 20))]
)
def test_what_a_header_announces_is_read_whatever_it_says(header: bytes, size: int) -> None:
    request = Request({"type": "http", "headers": [(b"content-length", header)]}, Sent().messages.get, "1")
    assert announced(request) == size
