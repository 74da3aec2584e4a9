import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from bentos.serving.batching import BATCH_CHARACTERS, INLINE_SECONDS, Batcher, Busy
from bentos.serving.http.asgi import Disconnected
from bentos.text_classifier.decoding import Options, Prediction

OPTIONS = Options()


class Model:
    """Remembers its batches; a batch takes `seconds`, and a text `bad` cannot be answered."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.batches: list[list[str]] = []
        self.threads: list[str] = []

    def infer(self, texts: list[str], options: list[Options]) -> list[Prediction | Exception]:
        self.batches.append(texts)
        self.threads.append(threading.current_thread().name)
        time.sleep(self.seconds)
        return [ValueError(text) if text == "bad" else Prediction(text, 1.0) for text in texts]


class Clock:
    """Stands still but for the batches that are run."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    still = Clock()
    monkeypatch.setattr("bentos.serving.batching.time", still)
    return still


class Timed(Model):
    """A model whose batches take `seconds` of the clock."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self.clock = clock
        self.step = seconds

    def infer(self, texts: list[str], options: list[Options]) -> list[Prediction | Exception]:
        self.clock.now += self.step
        return super().infer(texts, options)


def run(model: Model, scenario: Callable[[Batcher], Coroutine[Any, Any, Any]], **limits: Any) -> Any:
    async def play() -> Any:
        batcher = Batcher(model.infer, **{"max_batch": 8, "max_queue": 100, "max_wait_seconds": 100.0} | limits)
        try:
            return await scenario(batcher)
        finally:
            batcher.close()

    return asyncio.run(play())


async def learned(batcher: Batcher) -> None:
    """A first batch, from which the batcher learns what one costs."""
    await batcher.submit(["first"], OPTIONS)


def test_requests_that_arrive_together_are_run_together() -> None:
    async def scenario(batcher: Batcher) -> list[Any]:
        return await asyncio.gather(*(batcher.submit([str(number)], OPTIONS) for number in range(6)))

    model = Model()
    answers = run(model, scenario)
    assert [answer[0].label for answer in answers] == ["0", "1", "2", "3", "4", "5"]
    assert model.batches == [["0", "1", "2", "3", "4", "5"]]


def test_a_request_of_many_texts_is_answered_in_order_over_several_batches() -> None:
    texts = [str(number) for number in range(20)]
    model = Model()
    answers = run(model, lambda batcher: asyncio.wait_for(batcher.submit(texts, OPTIONS), 5))
    assert [answer.label for answer in answers] == texts
    assert [len(batch) for batch in model.batches] == [8, 8, 4]


def test_a_request_of_many_texts_takes_turns_with_small_ones() -> None:
    async def scenario(batcher: Batcher) -> None:
        large = batcher.submit([f"large {number}" for number in range(24)], OPTIONS)
        small = batcher.submit(["small"], OPTIONS)
        await asyncio.gather(large, small)

    model = Model()
    run(model, scenario)
    assert "small" in model.batches[1]


def test_one_bad_text_fails_its_own_request_alone() -> None:
    async def scenario(batcher: Batcher) -> list[Any]:
        asked = [batcher.submit([text], OPTIONS) for text in ("good", "bad", "fine")]
        return await asyncio.gather(*asked, return_exceptions=True)

    good, bad, fine = run(Model(), scenario)
    assert (good[0].label, fine[0].label) == ("good", "fine")
    assert isinstance(bad, ValueError)


def test_a_failing_batch_fails_its_requests_and_the_next_ones_are_answered() -> None:
    class Broken(Model):
        def infer(self, texts: list[str], options: list[Options]) -> list[Prediction | Exception]:
            if texts[0] == "explode":
                raise MemoryError
            return super().infer(texts, options)

    async def scenario(batcher: Batcher) -> list[Prediction]:
        with pytest.raises(MemoryError):
            await batcher.submit(["explode"], OPTIONS)
        return await batcher.submit(["after"], OPTIONS)

    assert run(Broken(), scenario)[0].label == "after"


def test_a_full_queue_refuses_at_once_and_says_for_how_long() -> None:
    async def scenario(batcher: Batcher) -> tuple[float, list[Any]]:
        await learned(batcher)
        asked = [batcher.submit(["x"], OPTIONS)]
        await asyncio.sleep(0.01)  # the first is at work in the thread: the others wait
        asked += [batcher.submit(["x"], OPTIONS) for _ in range(5)]
        with pytest.raises(Busy) as refused:
            batcher.submit(["one too many"], OPTIONS)
        return refused.value.retry_after, await asyncio.gather(*asked)

    retry_after, answers = run(Model(0.05), scenario, max_queue=5)
    assert retry_after > 0
    assert len(answers) == 6


def test_an_expected_wait_beyond_the_limit_refuses(clock: Clock) -> None:
    async def scenario(batcher: Batcher) -> None:
        await learned(batcher)
        asked = [batcher.submit(["x"], OPTIONS) for _ in range(2)]
        with pytest.raises(Busy):
            batcher.submit(["x"], OPTIONS)
        patient = batcher.submit(["a stream waits its turn"], OPTIONS, patient=True)
        await asyncio.gather(*asked, patient)

    run(Timed(clock, 0.05), scenario, max_wait_seconds=0.06)


def test_the_texts_of_a_client_that_left_are_never_run() -> None:
    async def scenario(batcher: Batcher) -> None:
        await learned(batcher)
        first = batcher.submit(["first in line"], OPTIONS)
        await asyncio.sleep(0.001)
        gone = batcher.submit(["gone"], OPTIONS)
        gone.set_exception(Disconnected())
        await first
        await batcher.submit(["last"], OPTIONS)
        with pytest.raises(Disconnected):
            await gone

    model = Model(0.02)
    run(model, scenario)
    assert "gone" not in [text for batch in model.batches for text in batch]


def test_short_batches_run_on_the_loop_and_long_ones_in_a_thread(clock: Clock) -> None:
    async def scenario(batcher: Batcher) -> None:
        for _ in range(3):
            await batcher.submit(["same text"], OPTIONS)

    quick, slow = Timed(clock, 0.5 * INLINE_SECONDS), Timed(clock, 2 * INLINE_SECONDS)
    run(quick, scenario)
    run(slow, scenario)
    assert set(quick.threads) == {"MainThread"}
    assert slow.threads[-1].startswith("model")


def test_a_long_text_does_not_gather_company() -> None:
    async def scenario(batcher: Batcher) -> None:
        long = "x" * BATCH_CHARACTERS
        await asyncio.gather(*(batcher.submit([text], OPTIONS) for text in (long, long, "short")))

    model = Model()
    run(model, scenario)
    assert [len(batch) for batch in model.batches] == [1, 1, 1]


def test_no_texts_give_no_predictions() -> None:
    assert run(Model(), lambda batcher: asyncio.wait_for(batcher.submit([], OPTIONS), 1)) == []
