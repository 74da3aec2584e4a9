"""The relay between two versions, over real applications and a real candidate process is tested with the rollout;
here its decisions, one request at a time."""

import asyncio
import json
import os
from pathlib import Path
from typing import Literal

import httpx
import msgspec
import pytest

from bentos.serving import relay as relay_module
from bentos.serving.guard.access import Access
from bentos.serving.guard.client import PrivateClient, opened
from bentos.serving.guard.envelope import Envelopes
from bentos.serving.http.asgi import Receive, Scope, Send
from bentos.serving.http.intake import Intake
from bentos.serving.observations import Pair, Rule, read_observed
from bentos.serving.relay import Relay

Answers = Literal["own", "other", "rescue"]


def answer(label: str) -> bytes:
    return json.dumps({"predictions": [{"label": label}]}).encode()


class App:
    """An application that answers every request with one status and label."""

    def __init__(self, label: str, status: int = 200) -> None:
        self.label = label
        self.status = status
        self.headers: list[tuple[bytes, bytes]] = [(b"x-made-by", b"app")]
        self.asked: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked.append((await receive())["body"])
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": answer(self.label)})


class Harness:
    """A relay over `own`, whose other version is the application `other` in place of a process."""

    def __init__(self, own: App, other: App, answers: Answers, folder: Path, draining: bool = False) -> None:
        self.rule = Rule(port=1, share=1.0, answers=answers, observations=str(folder))
        self.relay = Relay(own, folder / "rule.json", lambda: draining)
        self.relay._httpx = httpx
        self.relay._client = httpx.AsyncClient(transport=httpx.ASGITransport(other))
        self.relay.rule = self.rule

    async def ask(
        self, path: str = "/predict", headers: dict[str, str] | None = None, content: bytes = b'{"texts": ["a"]}'
    ) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self.relay), base_url="http://own") as client:
            response = await client.post(path, content=content, headers=headers)
        for task in list(self.relay._tasks):
            await task
        return response


def run(
    tmp_path: Path, own: App, other: App, answers: Answers, draining: bool = False
) -> tuple[httpx.Response, list[Pair]]:
    harness = Harness(own, other, answers, tmp_path, draining)

    async def scenario() -> httpx.Response:
        return await harness.ask()

    return asyncio.run(scenario()), harness.relay._pairs


@pytest.mark.parametrize(
    ("answers", "own", "other", "label", "status"),
    [
        ("own", 200, 200, "own", 200),
        ("own", 200, 500, "own", 200),
        ("other", 200, 200, "other", 200),
        ("other", 200, 500, "own", 200),
        ("other", 200, 429, "own", 200),
        ("other", 422, 422, "other", 422),
        ("rescue", 200, 200, "own", 200),
        ("rescue", 500, 200, "other", 200),
        ("rescue", 500, 500, "own", 500),
        ("rescue", 422, 200, "own", 422),
    ],
)
def test_whose_answer_the_client_gets(
    tmp_path: Path, answers: Answers, own: int, other: int, label: str, status: int
) -> None:
    response, _ = run(tmp_path, App("own", own), App("other", other), answers)
    assert (response.json()["predictions"][0]["label"], response.status_code) == (label, status)


@pytest.mark.parametrize("answers", ["own", "other"])
def test_both_versions_see_the_request_and_are_compared(tmp_path: Path, answers: Answers) -> None:
    own, other = App("a"), App("b")
    _, pairs = run(tmp_path, own, other, answers)
    assert own.asked == other.asked == [b'{"texts": ["a"]}']
    assert [(pair.own_ok, pair.other_ok, pair.texts, pair.differ) for pair in pairs] == [(True, True, 1, 1)]


def test_a_candidates_failure_is_noted_against_it(tmp_path: Path) -> None:
    _, pairs = run(tmp_path, App("a"), App("a", 500), "other")
    assert [(pair.own_ok, pair.other_ok) for pair in pairs] == [(True, False)]


def test_while_draining_nothing_is_compared_but_failures_are_still_rescued(tmp_path: Path) -> None:
    response, pairs = run(tmp_path, App("own"), App("other"), "other", draining=True)
    assert response.json()["predictions"][0]["label"] == "own"
    assert pairs == []
    response, _ = run(tmp_path, App("own", 500), App("other"), "rescue", draining=True)
    assert response.json()["predictions"][0]["label"] == "other"
    assert response.headers["connection"] == "close"


@pytest.mark.parametrize("answers", ["own", "other", "rescue"])
def test_an_encrypted_request_is_opened_once_and_both_versions_are_asked_in_clear(
    tmp_path: Path, answers: Answers
) -> None:
    guard = Access(None, Envelopes(tmp_path / "envelopes"), workers=1)
    own, other = App("own", 500 if answers == "rescue" else 200), App("other")
    harness = Harness(own, other, answers, tmp_path)
    harness.relay.guard = guard
    client = PrivateClient("http://own")
    client._key = Envelopes(tmp_path / "envelopes").published()
    envelope, answer_key = client.seal("/predict", b'{"texts": ["a"]}')
    headers = {"x-encryption": "hpke", "authorization": "Bearer x"}

    async def scenario() -> tuple[httpx.Response, httpx.Response]:
        return await harness.ask(headers=headers, content=envelope), await harness.ask(
            headers=headers, content=envelope
        )

    answered, again = asyncio.run(scenario())
    assert answered.headers["x-encryption"] == "hpke"
    label = json.loads(opened(answered.content, answer_key))["predictions"][0]["label"]
    assert label == ("own" if answers == "own" else "other")
    # The copy for the other version is no second use of the envelope; sent again it is one.
    assert own.asked == other.asked == [b'{"texts": ["a"]}']
    assert again.status_code == 409
    if answers != "rescue":
        assert [(pair.texts, pair.differ) for pair in harness.relay._pairs] == [(1, 1)]


@pytest.mark.parametrize(("path", "headers"), [("/explain", {}), ("/predict", {"content-length": "2000000"})])
def test_other_paths_and_large_bodies_go_straight_through(tmp_path: Path, path: str, headers: dict[str, str]) -> None:
    own, other = App("own"), App("other")
    harness = Harness(own, other, "other", tmp_path)
    response = asyncio.run(harness.ask(path, headers))
    assert response.json()["predictions"][0]["label"] == "own"
    assert other.asked == []


def test_what_was_seen_under_an_earlier_rule_is_not_counted_under_a_new_one(tmp_path: Path) -> None:
    harness = Harness(App("a"), App("b"), "own", tmp_path)
    file = tmp_path / "rule.json"

    async def scenario() -> None:
        await harness.ask()
        assert len(harness.relay._pairs) == 1
        file.write_bytes(msgspec.json.encode(harness.rule))
        await harness.relay._look()
        assert harness.relay._pairs == []
        file.unlink()
        await harness.relay._look()
        assert harness.relay.rule is None

    asyncio.run(scenario())


def test_a_damaged_rule_is_no_rule(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    harness = Harness(App("a"), App("b"), "own", tmp_path)
    (tmp_path / "rule.json").write_text('{"port": "x"}')
    asyncio.run(harness.relay._look())
    assert harness.relay.rule is None
    assert "is no rule" in caplog.text


def test_observations_of_all_workers_add_up_but_for_those_ignored(tmp_path: Path) -> None:
    line = b'{"requests":2,"failed":1,"pairs":[[true,false,1.0,2.0,1,0]]}\n'
    (tmp_path / "11.jsonl").write_bytes(line * 2)
    (tmp_path / "12.jsonl").write_bytes(line + b'{"requests":5')  # still being written
    seen = read_observed(tmp_path)
    assert (seen.requests, seen.failed, len(seen.pairs)) == (6, 3, 3)
    assert read_observed(tmp_path, {11}).requests == 2


def test_what_cannot_be_written_is_not_forgotten_and_the_next_line_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relay_module, "_WRITE_SECONDS", 0.02)
    harness = Harness(App("a"), App("b"), "own", tmp_path)
    (tmp_path / f"{os.getpid()}.jsonl").mkdir()

    async def scenario() -> None:
        await harness.ask()
        reporting = asyncio.ensure_future(harness.relay._report())
        while "cannot be written yet" not in caplog.text:
            await asyncio.sleep(0.01)
        (tmp_path / f"{os.getpid()}.jsonl").rmdir()
        (tmp_path / f"{os.getpid()}.jsonl").write_bytes(b'{"requests":5')
        while not read_observed(tmp_path).pairs:
            await asyncio.sleep(0.01)
        reporting.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 60))
    assert read_observed(tmp_path).requests == 1


def limited_app(label: str) -> App:
    """An application that says 429 because its client has used up what it may have."""
    app = App(label, 429)
    app.headers = [(b"x-limited", b"key")]
    return app


def test_a_key_that_asks_too_often_is_neither_rescued_nor_held_against_the_version(tmp_path: Path) -> None:
    other = App("other")
    harness = Harness(limited_app("own"), other, "rescue", tmp_path)
    response = asyncio.run(harness.ask())
    assert (response.status_code, response.headers["x-limited"]) == (429, "key")
    assert (harness.relay._requests, harness.relay._failed, other.asked) == (1, 0, [])
    harness = Harness(App("own"), limited_app("other"), "other", tmp_path)
    assert asyncio.run(harness.ask()).status_code == 429
    assert [(pair.own_ok, pair.other_ok) for pair in harness.relay._pairs] == [(True, True)]


@pytest.mark.parametrize(("other", "failed"), [(200, 1), (500, 0), (422, 1)])
def test_a_request_that_the_version_before_fails_as_well_is_not_held_against_the_new_one(
    tmp_path: Path, other: int, failed: int
) -> None:
    harness = Harness(App("own", 500), App("other", other), "rescue", tmp_path)
    asyncio.run(harness.ask())
    assert harness.relay._failed == failed


class Unasked(httpx.AsyncBaseTransport):
    """A way to the other version on which there is no room."""

    def __init__(self, error: httpx.HTTPError) -> None:
        self.error = error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise self.error


@pytest.mark.parametrize(
    ("error", "pairs"), [(httpx.PoolTimeout(""), 0), (httpx.LocalProtocolError(""), 0), (httpx.ConnectError(""), 1)]
)
def test_only_a_version_that_was_asked_can_fail(tmp_path: Path, error: httpx.HTTPError, pairs: int) -> None:
    harness = Harness(App("own"), App("other"), "other", tmp_path)
    harness.relay._client = httpx.AsyncClient(transport=Unasked(error))
    assert asyncio.run(harness.ask()).json()["predictions"][0]["label"] == "own"
    assert len(harness.relay._pairs) == pairs


class Slow(App):
    """An application that lets others in before it answers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.05)
        await super().__call__(scope, receive, send)


def test_all_bodies_that_the_relay_holds_are_bounded(tmp_path: Path) -> None:
    harness = Harness(App("own"), Slow("other"), "other", tmp_path)
    harness.relay._intake = Intake(largest=1000, largest_answer=0, most=20, seconds=1)

    async def scenario() -> list[int]:
        asked = await asyncio.gather(*(harness.ask() for _ in range(5)))
        return sorted(response.status_code for response in asked)

    assert asyncio.run(scenario()) == [200, 429, 429, 429, 429]
    assert harness.relay._requests == 1
