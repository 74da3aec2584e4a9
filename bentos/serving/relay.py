"""Two versions on the same traffic: some requests are put to another version as well, and the answers compared.

The worker reads a rule from a file whenever that changes. The rule names the other version's port and
says whose answer the client gets:

- `own` (shadow): this worker's; the other version gets a copy afterwards.
- `other` (canary): the other version's, or this worker's where that fails, so that a bad candidate
  costs no request; this worker then answers the same request for the comparison.
- `rescue` (the first minutes after a swap): this worker's, or the other version's where this one fails.

Nothing but one comparison is added to a request while there is no rule.
"""

import asyncio
import importlib
import json
import logging
import os
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from bentos.serving.guard.guard import Guard
from bentos.serving.guard.network import ENCRYPTION_HEADER
from bentos.serving.http.asgi import (
    Disconnected,
    Headers,
    Message,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    send_response,
)
from bentos.serving.http.intake import Intake
from bentos.serving.http.problems import LIMITED, Problem
from bentos.serving.observations import Observed, Pair, Rule
from bentos.serving.records.appending import append

logger = logging.getLogger(__name__)

RULE_VARIABLE = "MODEL_SERVICE_RELAY"

_FOLLOW_SECONDS = 0.2
_WRITE_SECONDS = 0.5
_ARRIVE_SECONDS = 30.0
_LARGEST_BODY = 1_000_000
_MOST_BODIES = 64_000_000
_MOST_COMPARED = 16
_DROPPED_HEADERS = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "date", "server"}

App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Answer(msgspec.Struct, frozen=True):
    status: int
    headers: Headers
    body: bytes
    milliseconds: float
    lost: bool = False

    @property
    def ok(self) -> bool:
        """Whether the version did its part: what its client did wrong or has used up is none of its own, being busy
        is."""
        return self.status < 500 and (self.status != 429 or any(name == LIMITED for name, _ in self.headers))


Give = Callable[[Answer], Awaitable[None]]
_LOST = Answer(502, [], b"", 0.0, lost=True)


class Relay:
    """ASGI middleware around the application; `draining` tells when every answer must close its connection.

    What `guard` can open is opened here, once, and its answer sealed here: both versions are asked in clear.
    """

    def __init__(self, app: App, file: Path, draining: Callable[[], bool], guard: Guard | None = None) -> None:
        self.app = app
        self.file = file
        self.draining = draining
        self.guard = guard
        self.rule: Rule | None = None
        self._seen: tuple[int, int] | None = None
        self._httpx: Any = None
        self._client: Any = None
        self._tasks: set[asyncio.Task[None]] = set()
        # Answers are not held here, whole as they pass on.
        self._intake = Intake(_LARGEST_BODY, 0, _MOST_BODIES, _ARRIVE_SECONDS)
        self._compared = 0
        self._requests = 0
        self._failed = 0
        self._pairs: list[Pair] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            # Before the first request: a rule to rescue must hold from the first failure on.
            await self._look()
            self._in_background(self._follow())
            self._in_background(self._report())
        rule = self.rule
        if rule is None or not _concerned(scope) or random.random() >= rule.share or self._leaves(rule):
            await self.app(scope, receive, send)
            return
        # With a scope of its own, in which the guard keeps what seals the answer: the application must not, too.
        request = Request(dict(scope), receive, "")
        give = partial(self._give, request, send)
        try:
            body = await self._intake.body(request)
            if self.guard is not None and request.header(ENCRYPTION_HEADER) is not None:
                body = self.guard.open(request, body)
                scope = _in_clear(scope, len(body))
            self._requests += 1
            if rule.answers == "other":
                await self._other_first(rule, scope, receive, give, body)
            else:
                await self._own_first(rule, scope, receive, give, body)
        except Problem as problem:
            refusal = problem.response()
            await give(Answer(refusal.status, refusal.headers, refusal.body, 0.0))
        except Disconnected:
            return
        finally:
            self._intake.release(request)

    async def _give(self, request: Request, send: Send, answer: Answer) -> None:
        headers = [(key, value) for key, value in answer.headers if key != b"content-length"]
        response = Response(answer.status, answer.body, headers)
        await send_response(send, self.guard.seal(request, response) if self.guard else response, [], head=False)

    def _leaves(self, rule: Rule) -> bool:
        """Whether this worker is on its way out: then it compares no more, but is rescued to the end."""
        return self.draining() and rule.answers != "rescue"

    async def _own_first(self, rule: Rule, scope: Scope, receive: Receive, give: Give, body: bytes) -> None:
        own = await self._ask_own(scope, body, receive)
        if own is None:
            return
        if rule.answers == "own":
            self._failed += not own.ok
            await give(own)
            self._compare(rule, lambda: self._ask_other(rule, scope, body), own)
        elif own.ok:
            await give(own)
        else:
            other = await self._ask_other(rule, scope, body)
            # What the version before fails as well is the request's fault, not the version's.
            self._failed += other is None or other.ok or other.lost
            answer = own if other is None or not other.ok else other
            await give(_closing(answer) if answer is other and self.draining() else answer)

    async def _other_first(self, rule: Rule, scope: Scope, receive: Receive, give: Give, body: bytes) -> None:
        other = await self._ask_other(rule, scope, body)
        if other is not None and other.ok:
            await give(other)
            self._compare(rule, lambda: self._ask_own(scope, body, _never), other)
            return
        own = await self._ask_own(scope, body, receive)
        if own is not None:
            await give(own)
            if other is not None:
                self._note(rule, own, other)

    def _compare(self, rule: Rule, ask: Callable[[], Awaitable[Answer | None]], first: Answer) -> None:
        """Asks the second version after the client was answered; where too much waits, the request is left out."""
        if self._compared >= _MOST_COMPARED:
            return
        self._compared += 1

        async def compare() -> None:
            try:
                second = await ask()
                if second is not None:
                    self._note(rule, *((second, first) if rule.answers == "other" else (first, second)))
            finally:
                self._compared -= 1

        self._in_background(compare())

    def _note(self, rule: Rule, own: Answer, other: Answer) -> None:
        if rule is not self.rule:
            return  # it says nothing about the version that is on trial now
        texts, differ = _differences(own, other) if own.ok and other.ok else (0, 0)
        self._pairs.append(Pair(own.ok, other.ok, own.milliseconds, other.milliseconds, texts, differ))

    async def _ask_own(self, scope: Scope, body: bytes, receive: Receive) -> Answer | None:
        messages: list[Message] = []
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def keep(message: Message) -> None:
            messages.append(message)

        started = time.perf_counter()
        await self.app(scope, replay, keep)
        took = (time.perf_counter() - started) * 1e3
        if not messages:
            return None  # the client has left
        answered = b"".join(message.get("body", b"") for message in messages[1:])
        return Answer(messages[0]["status"], list(messages[0]["headers"]), answered, took)

    async def _ask_other(self, rule: Rule, scope: Scope, body: bytes) -> Answer | None:
        """None where it could not even be asked, which says nothing of it."""
        headers = [(key, value) for key, value in scope["headers"] if key.decode("latin-1") not in _DROPPED_HEADERS]
        started = time.perf_counter()
        try:
            response = await self._client.post(
                f"http://127.0.0.1:{rule.port}/predict", content=body, headers=headers, timeout=rule.timeout
            )
        except (self._httpx.PoolTimeout, self._httpx.LocalProtocolError) as error:
            logger.warning("the other version is not asked: %r", error)
            return None
        except self._httpx.HTTPError as error:
            logger.warning("the other version does not answer: %r", error)
            return msgspec.structs.replace(_LOST, milliseconds=(time.perf_counter() - started) * 1e3)
        raw = [(key.lower(), value) for key, value in response.headers.raw]
        kept = [(key, value) for key, value in raw if key.decode("latin-1") not in _DROPPED_HEADERS]
        return Answer(response.status_code, kept, response.content, (time.perf_counter() - started) * 1e3)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_FOLLOW_SECONDS)
            await self._look()

    async def _look(self) -> None:
        """Takes up the rule as the file has it now."""
        try:
            found = self.file.stat()
            now = (found.st_mtime_ns, found.st_ino)
        except FileNotFoundError:
            now = None
        if now == self._seen:
            return
        self._seen = now
        rule = self._read_rule() if now else None
        if rule and self._client is None:
            # In a thread, and only once there is a rule: importing it takes a tenth of a second.
            self._httpx = await asyncio.to_thread(importlib.import_module, "httpx")
            self._client = self._httpx.AsyncClient(trust_env=False)
        self.rule = rule
        self._requests, self._failed, self._pairs = 0, 0, []

    def _read_rule(self) -> Rule | None:
        try:
            return msgspec.json.decode(self.file.read_bytes(), type=Rule)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError:
            logger.exception("%s is no rule", self.file)
            return None

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            rule = self.rule
            if rule and (self._requests or self._pairs):
                observed = Observed(self._requests, self._failed, self._pairs)
                try:
                    append(Path(rule.observations) / f"{os.getpid()}.jsonl", msgspec.json.encode(observed) + b"\n")
                except FileNotFoundError:
                    pass  # The trial has ended and its folder with it.
                except OSError as error:
                    logger.error("what was seen of both versions cannot be written yet: %s", error)
                    continue
                self._requests, self._failed, self._pairs = 0, 0, []

    def _in_background(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _concerned(scope: Scope) -> bool:
    if scope["type"] != "http" or scope["path"] != "/predict" or scope["method"] != "POST":
        return False
    length = next((value for key, value in scope["headers"] if key == b"content-length"), b"")
    return length.isdigit() and int(length) <= _LARGEST_BODY


def _in_clear(scope: Scope, size: int) -> Scope:
    """The request as it would have come without encryption."""
    headers = [one for one in scope["headers"] if one[0] not in (ENCRYPTION_HEADER, b"content-length")]
    return {**scope, "headers": [*headers, (b"content-length", b"%d" % size)]}


def _closing(answer: Answer) -> Answer:
    return msgspec.structs.replace(answer, headers=[*answer.headers, (b"connection", b"close")])


async def _never() -> Message:
    await asyncio.Event().wait()
    return {"type": "http.disconnect"}


def _differences(own: Answer, other: Answer) -> tuple[int, int]:
    """(texts, texts with another label or other spans)."""
    try:
        left, right = (json.loads(answer.body)["predictions"] for answer in (own, other))
        pairs = list(zip(left, right, strict=True))
        return len(pairs), sum(_said(a) != _said(b) for a, b in pairs)
    except (ValueError, KeyError, TypeError):
        return 0, 0  # a refusal, or sealed


def _said(prediction: dict[str, Any]) -> object:
    spans = prediction.get("spans")
    if spans is None:
        return prediction["label"]
    return [(span["start"], span["end"], span["label"]) for span in spans]
