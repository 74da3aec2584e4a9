"""Dynamic micro-batching: what waits together is run together, and nothing waits for company.

The model is either free or busy. While it is busy requests gather; the moment it is free, what has
gathered becomes the next batch. An idle service thus adds no wait, a loaded one batches as much as
arrives. Batches that are expected to be short run on the event loop itself, since handing them to a
thread would cost more than they do; longer ones run in one thread, so that reading, refusing and
health checks go on meanwhile.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, NamedTuple, TypeVar

from bentos.serving.http.asgi import Disconnected

logger = logging.getLogger(__name__)

INLINE_SECONDS = 0.008
"""Batches that are expected to take less run on the event loop."""

BATCH_CHARACTERS = 32_768
"""A batch takes no further text beyond so many characters, so that one long text delays few others."""

BATCH_SECONDS = 0.02
"""A batch that is expected to take longer takes no further texts, which is asked at every `_EFFICIENT` of them."""

_EFFICIENT = 4
"""Texts with which a batch is about as efficient as a larger one."""

_TEXT_COST = 40
"""What a text costs beside its length, in characters."""

_SMOOTHING = 0.1


class Busy(Exception):
    """More waits than may; `retry_after` is the expected time until it is done, in seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"busy for {retry_after:.1f} s")
        self.retry_after = retry_after


Options = TypeVar("Options")
Answer = TypeVar("Answer")

Infer = Callable[[list[str], list[Options]], list[Answer | Exception]]
"""Answers for texts, each with its options, in order; an exception stands where one text alone cannot be answered."""


class Job(Generic[Options, Answer]):
    """The texts of one request on their way through the model."""

    __slots__ = ("answers", "future", "left", "options", "taken", "texts", "turn")

    def __init__(self, texts: Sequence[str], options: Options, future: asyncio.Future[list[Answer]], turn: int) -> None:
        self.texts = texts
        self.options = options
        self.future = future
        self.answers: list[Answer | None] = [None] * len(texts)
        self.turn = turn
        self.taken = 0
        self.left = len(texts)

    def settle(self, start: int, answers: list[Answer | Exception]) -> None:
        """Takes the answers for the texts from `start` on."""
        if self.future.done():
            return
        for answer in answers:
            if isinstance(answer, Exception):
                self.future.set_exception(answer)
                return
        self.answers[start : start + len(answers)] = answers  # type: ignore[assignment]  # none is an error
        self.left -= len(answers)
        if not self.left:
            self.future.set_result(self.answers)  # type: ignore[arg-type]  # all are filled


class Batch(NamedTuple, Generic[Options, Answer]):
    """What is run at once: of each request the texts from one place to another."""

    pieces: list[tuple[Job[Options, Answer], int, int]]
    texts: int
    characters: int

    def asked(self) -> tuple[list[str], list[Options]]:
        """The texts, and for each what its request asks of the answer."""
        texts: list[str] = []
        options: list[Options] = []
        for job, start, end in self.pieces:
            texts += job.texts[start:end]
            options += [job.options] * (end - start)
        return texts, options


class Batcher(Generic[Options, Answer]):
    """Runs texts of many requests through one model. For one event loop.

    Args:
        infer: runs a batch; called from one thread at a time.
        max_batch: texts a batch.
        max_queue: requests that may wait.
        max_wait_seconds: expected wait of a new request beyond which it is refused.
        observe: called with (texts, seconds) after every batch.
    """

    def __init__(
        self,
        infer: Infer[Options, Answer],
        *,
        max_batch: int,
        max_queue: int,
        max_wait_seconds: float,
        observe: Callable[[int, float], None] = lambda texts, seconds: None,
    ) -> None:
        self._infer = infer
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._max_wait_seconds = max_wait_seconds
        self._observe = observe
        self._waiting: deque[Job[Options, Answer]] = deque()
        self._waiting_units = 0
        self._active = False
        self._in_thread = False
        self._costs = _Costs()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="model")

    @property
    def waiting(self) -> int:
        """Requests that wait for the model."""
        return len(self._waiting)

    @property
    def slow(self) -> bool:
        """Whether the model is at work in its thread, so that a new request has to wait."""
        return self._in_thread

    def expected_wait(self) -> float:
        """Seconds until a new request's first texts are run: everyone's next turn comes before."""
        return self._waiting_units * self._costs.latest

    def submit(self, texts: Sequence[str], options: Options, *, patient: bool = False) -> asyncio.Future[list[Answer]]:
        """A future of one answer a text. Cancelling it, or failing it, drops what was not yet run.

        Raises:
            Busy: more waits than may, unless `patient`.
        """
        if not patient and self._waiting:
            wait = self.expected_wait()
            if len(self._waiting) >= self._max_queue or wait > self._max_wait_seconds:
                raise Busy(wait)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Answer]] = loop.create_future()
        if not texts:
            future.set_result([])
            return future
        self._wait(Job(texts, options, future, _units(texts[: self._max_batch])))
        if not self._active:
            self._active = True
            loop.call_soon(self._step)
        return future

    def close(self) -> None:
        """Fails what still waits and ends the thread after its batch."""
        for job in self._waiting:
            if not job.future.done():
                job.future.set_exception(Disconnected())
        self._waiting.clear()
        self._waiting_units = 0
        self._executor.shutdown(wait=True)

    def _take(self) -> Batch[Options, Answer]:
        """The next batch. A request of many texts takes turns with the others, a batch each."""
        pieces: list[tuple[Job[Options, Answer], int, int]] = []
        texts = characters = 0
        unfinished: list[Job[Options, Answer]] = []
        room = True
        while self._waiting and room:
            job = self._waiting.popleft()
            self._waiting_units -= job.turn
            if job.future.done():
                continue
            start = texts
            for text in job.texts[job.taken : job.taken + self._max_batch]:
                texts += 1
                characters += len(text)
                room = self._has_room(texts, characters)
                if not room:
                    break
            pieces.append((job, job.taken, job.taken + texts - start))
            job.taken += texts - start
            if job.taken < len(job.texts):
                unfinished.append(job)
        for job in unfinished:
            self._wait(job)
        return Batch(pieces, texts, characters)

    def _has_room(self, texts: int, characters: int) -> bool:
        if texts >= self._max_batch or characters >= BATCH_CHARACTERS:
            return False
        # Asked again every few texts only: it takes longer than all else that is done for a text here.
        return texts % _EFFICIENT > 0 or self._costs.seconds(texts, characters) < BATCH_SECONDS

    def _wait(self, job: Job[Options, Answer]) -> None:
        self._waiting.append(job)
        self._waiting_units += job.turn

    def _step(self) -> None:
        batch = self._take()
        if not batch.texts:
            self._active = False
            return
        loop = asyncio.get_running_loop()
        if self._costs.seconds(batch.texts, batch.characters) <= INLINE_SECONDS:
            self._settle(batch, *self._timed(*batch.asked()))
            loop.call_soon(self._step)
            return
        self._in_thread = True
        running = loop.run_in_executor(self._executor, self._timed, *batch.asked())
        running.add_done_callback(lambda done: self._after_thread(batch, done))

    def _after_thread(
        self, batch: Batch[Options, Answer], done: "asyncio.Future[tuple[list[Answer | Exception], float]]"
    ) -> None:
        self._in_thread = False
        if done.cancelled():
            return
        self._settle(batch, *done.result())
        self._step()

    def _timed(self, texts: list[str], options: list[Options]) -> tuple[list[Answer | Exception], float]:
        started = time.perf_counter()
        try:
            answers = self._infer(texts, options)
        except Exception as error:
            # A batch must not take its requests, or the loop that feeds the model, down with it.
            logger.exception("a batch of %d texts failed", len(texts))
            answers = list[Answer | Exception]([error] * len(texts))
        return answers, time.perf_counter() - started

    def _settle(self, batch: Batch[Options, Answer], answers: list[Answer | Exception], seconds: float) -> None:
        self._costs.learn(batch.texts, batch.characters, seconds)
        self._observe(batch.texts, seconds)
        before = 0
        for job, start, end in batch.pieces:
            job.settle(start, answers[before : before + end - start])
            before += end - start


class _Costs:
    """What batches cost, learned from those that were run: seconds a unit, by the batch's size in powers of two."""

    def __init__(self) -> None:
        self._rates = [0.0] * 32
        self.latest = 0.0
        """Of the last batches, whatever their size."""

    def learn(self, texts: int, characters: int, seconds: float) -> None:
        rate = seconds / (characters + _TEXT_COST * texts)
        size = texts.bit_length()
        self._rates[size] = _smoothed(self._rates[size], rate)
        self.latest = _smoothed(self.latest, rate)

    def seconds(self, texts: int, characters: int) -> float:
        """Of a batch; judged by the nearest smaller size when there was none of its own, which errs upwards."""
        size = texts.bit_length()
        while size > 1 and not self._rates[size]:
            size -= 1
        return self._rates[size] * (characters + _TEXT_COST * texts)


def _smoothed(known: float, found: float) -> float:
    return known + _SMOOTHING * (found - known) if known else found


def _units(texts: Sequence[str]) -> int:
    return sum(map(len, texts)) + _TEXT_COST * len(texts)
