"""What a key is counted and refused by is what the handlers answer, for every route and every field that costs."""

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from bentos.serving.guard import api_keys
from bentos.serving.guard.access import Access
from bentos.serving.guard.api_keys import ApiKey, dump_keys, new_token
from bentos.serving.guard.client import PrivateClient
from bentos.serving.guard.envelope import Envelopes
from bentos.serving.http.application import Application
from bentos.text_classifier.decoding import Prediction, Span, rounded
from bentos.text_classifier.kind import SERVICE
from bentos.text_classifier.routes import routes
from bentos.text_classifier.runtime import Runtime
from bentos.text_classifier.settings import Settings
from tests.bentos.text_classifier.model_folder import grams_folder, sentence

V2 = "/v2/models/text_classifier/infer"
JSON = {"content-type": "application/json"}
SURROGATE = '"\\ud800 goal"'
MANY = {f"label number {number}": [f"word{number}"] for number in range(300)}


class Served(NamedTuple):
    """A guarded service in this process."""

    client: TestClient
    application: Application
    guard: Access
    file: Path

    def key(self, *scopes: Any, **limits: Any) -> dict[str, str]:
        """The header of a new key, the only one."""
        name, token, digest = new_token()
        key = ApiKey(id=name, name=name, hash=digest, scopes=scopes, created=0.0, **limits)
        self.file.write_text(dump_keys([key]))
        return JSON | {"authorization": f"Bearer {token}"}

    def spent(self) -> tuple[int, int]:
        """Texts and explanations that were counted for the latest key."""
        *_, caller = self.guard._callers.values()
        return caller._texts.used, caller._explanations.used


@contextmanager
def serving(folder: Path, task: Any = "single", words: Any = None, **chosen: Any) -> Iterator[Served]:
    file = folder / "keys.json"
    guard = Access(file, Envelopes(folder / "envelopes"), workers=1)
    own = Settings(records=str(folder / "records"), **chosen)
    application = Application(SERVICE, grams_folder(folder / "model", task=task, words=words), own, guard=guard)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api_keys, "_LOOK_SECONDS", 0.0)
        with TestClient(application) as client:
            yield Served(client, application, guard, file)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("served")) as started:
        yield started


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("many"), words=MANY, max_answer_mb=0.5) as started:
        yield started


def tensor(data: str, count: int) -> str:
    return '{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [%d], "data": %s}]}' % (count, data)  # noqa: UP031


COSTLY = {
    "texts": ("/predict", f'{{"texts": [{SURROGATE}, "b", "c"]}}', 3, 0),
    "texts explained": ("/predict", f'{{"texts": [{SURROGATE}, "b"], "explain": true}}', 2, 2),
    "explained under a name that is spelt": ("/predict", f'{{"texts": [{SURROGATE}], "expl\\u0061in": true}}', 1, 1),
    "no texts": ("/predict", '{"texts": []}', 0, 0),
    "a text explained": ("/explain", f'{{"text": {SURROGATE}}}', 1, 1),
    "tensors": (V2, tensor(f'[{SURROGATE}, "b", "c", "d"]', 4), 4, 0),
    "lines": ("/predict/stream", f'{SURROGATE}\n\nnope\n{{"text": {SURROGATE}}}\n', 2, 0),
    "feedback": ("/feedback", f'{{"id": "1", "text": {SURROGATE}, "label": "sport"}}', 0, 0),
}
BUDGETS = {"texts_a_day": 10**6, "explanations_a_day": 10**6}


@pytest.mark.parametrize(("path", "body", "texts", "explanations"), COSTLY.values(), ids=COSTLY)
def test_what_is_answered_is_what_is_counted(
    served: Served, path: str, body: str, texts: int, explanations: int
) -> None:
    key = served.key("predict", "explain", "feedback", **BUDGETS)
    assert served.client.post(path, content=body, headers=key).status_code == 200
    assert served.spent() == (texts, explanations)


@pytest.mark.parametrize(("path", "body", "texts", "explanations"), COSTLY.values(), ids=COSTLY)
def test_what_is_beyond_a_budget_or_a_scope_is_refused(
    served: Served, path: str, body: str, texts: int, explanations: int
) -> None:
    def ask(*scopes: str, **limits: int) -> int:
        answer = served.client.post(path, content=body, headers=served.key(*scopes, **limits))
        if path == "/predict/stream":
            return max(json.loads(line).get("error", {}).get("status", 200) for line in answer.iter_lines())
        return answer.status_code

    every = ("predict", "explain", "feedback")
    if texts:
        assert ask(*every, texts_a_day=texts - 1) == 429
    if explanations:
        assert ask(*every, explanations_a_day=explanations - 1) == 429
        assert ask("predict", "feedback") == 403


def test_every_route_that_reads_a_body_is_among_those_that_are_tried() -> None:
    assert {route.path for route in routes("text_classifier") if route.body} == {path for path, *_ in COSTLY.values()}


def test_a_stream_answers_as_many_lines_as_the_day_has(served: Served) -> None:
    key = served.key("predict", texts_a_day=150)
    answer = served.client.post("/predict/stream", content='"goal"\n' * 200 + "nope\n", headers=key)
    statuses = [json.loads(line).get("error", {}).get("status") for line in answer.iter_lines()]
    assert statuses == [None] * 150 + [429] * 50 + [400]
    assert served.spent() == (150, 0)


def test_a_stream_is_of_the_size_that_the_key_may_send_whatever_it_announces(served: Served) -> None:
    key = served.key("predict", max_body_mb=0.001)
    assert served.client.post("/predict/stream", content='"goal"\n' * 1000, headers=key).status_code == 413
    chunks = (b'"goal"\n' * 10 for _ in range(100))
    *answered, last = served.client.post("/predict/stream", content=chunks, headers=key).text.splitlines()
    assert len(answered) < 150
    assert (json.loads(last)["line"], json.loads(last)["error"]["status"]) == (len(answered) + 1, 413)


TEXTS = st.lists(
    st.sampled_from(['"goal"', SURROGATE, '""', "3", "null", '"\\ud83d\\ude00 bread"', '"oven']), max_size=4
)
FLAGS = st.sampled_from(["true", "false", "1", "null", '"\\ud800"'])
FIELDS = st.dictionaries(
    st.sampled_from(["texts", "text", "explain", "expl\\u0061in", "top_k", "inputs", "labels", "label", "\\ud800"]),
    st.one_of(
        FLAGS,
        TEXTS.map(lambda texts: f"[{', '.join(texts)}]"),
        st.sampled_from(["2", "1e999", "9" * 400, SURROGATE, '"sport"', '["food"]']),
    ),
    max_size=4,
)
OBJECTS = FIELDS.map(lambda fields: "{%s}" % ", ".join(f'"{name}": {value}' for name, value in fields.items()))  # noqa: UP031
LISTED = TEXTS.map(lambda texts: f"[{', '.join(texts)}]")
BODIES = st.one_of(
    st.tuples(st.just("/predict"), st.builds('{{"texts": {}, "explain": {}}}'.format, LISTED, FLAGS)),
    st.tuples(st.just(V2), st.builds(tensor, LISTED, st.integers(0, 4))),
    st.tuples(st.just("/predict/stream"), TEXTS.map("\n".join)),
    st.tuples(st.sampled_from(["/predict", "/explain", V2, "/predict/stream"]), OBJECTS),
)


def answered(path: str, answer: Any) -> tuple[int, int]:
    """Texts and explanations in an answer."""
    if answer.status_code != 200:
        assert 400 <= answer.status_code < 500
        return 0, 0
    if path == "/predict/stream":
        return sum("error" not in json.loads(line) for line in answer.iter_lines()), 0
    if path == "/explain":
        return 1, 1
    if path == V2:
        return answer.json()["outputs"][0]["shape"][0], 0
    predictions = answer.json()["predictions"]
    return len(predictions), sum("attributions" in one for one in predictions)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=BODIES)
def test_whatever_the_body_what_the_guard_counted_is_what_the_handler_answered(
    served: Served, asked: tuple[str, str]
) -> None:
    path, body = asked
    answer = served.client.post(path, content=body, headers=served.key("predict", "explain", **BUDGETS))
    assert served.spent() == answered(path, answer)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.text(max_size=60),
    count=st.integers(0, 5),
    top_k=st.integers(1, 400),
    explained=st.booleans(),
    route=st.sampled_from(["/predict", "/explain", V2]),
)
def test_an_answer_is_never_larger_than_what_was_counted_for_it(
    many: Served, text: str, count: int, top_k: int, explained: bool, route: str
) -> None:
    body: dict[str, Any] = {"texts": [text] * count, "top_k": top_k, "explain": explained}
    if route == "/explain":
        body = {"text": text, "budget": 20}
    elif route == V2:
        body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [count], "data": [text] * count}]}
    bounds: list[int] = []
    admit = many.application._intake.admit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many.application._intake, "admit", lambda *given: (bounds.append(given[1]), admit(*given)))
        answer = many.client.post(route, json=body, headers=many.key("predict", "explain"))
    assert answer.status_code == 200
    assert len(answer.content) <= bounds[0]


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(*given: object, **named: object) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr(Runtime, "predict", work)


@pytest.mark.usefixtures("idle")
def test_what_multiplies_is_refused_before_any_work(many: Served) -> None:
    key = many.key("predict")
    data = ["goal"] * 100
    body = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [100], "data": data}]}
    named = body | {"outputs": [{"name": "prediction"}] * 1000}
    answer = many.client.post(V2, json=named, headers=key)
    assert (answer.status_code, answer.json()["field"]) == (422, "outputs[1].name")
    answer = many.client.post("/predict", json={"texts": data, "top_k": 300}, headers=key)
    assert (answer.status_code, answer.json()["field"]) == (422, "top_k")
    assert "ask for less at one time" in answer.json()["detail"]


def test_a_stream_of_many_labels_a_line_is_answered_in_small_groups(many: Served) -> None:
    sizes: list[int] = []
    predict = many.application.runtime.predict  # type: ignore[union-attr]  # it is started

    def watched(request: Any, texts: list[str], *given: Any, **named: Any) -> Any:
        sizes.append(len(texts))
        return predict(request, texts, *given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many.application.runtime, "predict", watched)
        body = '"word7"\n' * 150
        answer = many.client.post("/predict/stream?top_k=300", content=body, headers=many.key("predict"))
    assert len(answer.text.splitlines()) == 150
    assert max(sizes) < 50


def test_answers_of_several_requests_are_held_within_one_bound(tmp_path: Path) -> None:
    with serving(tmp_path, words=MANY, max_pending_mb=0.6) as served:
        intake = served.application._intake
        body = {"texts": ["word7"] * 20, "top_k": 300}
        key = served.key("predict")
        assert served.client.post("/predict", json=body, headers=key).status_code == 200
        intake._held = 300_000  # as of another request
        assert served.client.post("/predict", json=body, headers=key).status_code == 429
        intake._held = 0
        assert served.client.post("/predict", json=body, headers=key).status_code == 200
        assert intake._held == 0


def floats(value: Any) -> Iterator[float]:
    """Every float in an answer, those in strings of JSON included."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from floats(one)
    elif isinstance(value, str) and value.startswith("{"):
        yield from floats(json.loads(value))


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("decimals", [0, 2])
def test_no_route_gives_more_decimals_than_the_key_may_have(tmp_path: Path, task: str, decimals: int) -> None:
    text = "goal bread match atom"
    asked = {
        "/predict": {"texts": [text], "top_k": 3, "explain": True},
        "/explain": {"text": text},
        V2: {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}]},
        "/predict/stream?top_k=3": {"text": text},
    }
    with serving(tmp_path, task) as served:
        key = served.key("predict", "explain", decimals=decimals)
        for path, body in asked.items():
            answer = served.client.post(path, json=body, headers=key)
            found = list(floats(answer.json()))
            assert len(found) > 1, path
            assert all(value == round(value, decimals) for value in found), path
        exact = served.client.post("/predict", json=asked["/predict"], headers=served.key("predict", "explain"))
        assert any(value != round(value, 4) for value in floats(exact.json()))


def test_a_threshold_sees_the_rounded_score(served: Served) -> None:
    body = {"texts": [sentence("sport", 1)]}
    exact = served.client.post("/predict", json=body, headers=served.key("predict")).json()["predictions"][0]["score"]
    assert 0.95 < exact < 0.97
    key = served.key("predict", decimals=1)

    def passes(threshold: float) -> set[bool]:
        query = f"/predict/stream?threshold={threshold}"
        return {
            bool(served.client.post("/predict", json=body | {"threshold": threshold}, headers=key)
                 .json()["predictions"][0]["labels"]),
            bool(served.client.post(query, content=json.dumps(body["texts"][0]), headers=key).json()["labels"]),
        }  # fmt: skip

    # Between them lies the score itself, which bisection would find.
    assert passes(exact - 0.01) == passes(exact + 0.01) == {True}


def test_spans_are_rounded_before_a_threshold_sees_them() -> None:
    whole = Prediction(spans=[Span(0, 4, "city", 0.749), Span(5, 9, "city", 0.751)], id="1")
    found = rounded(whole, 1, 0.8)
    assert [one.score for one in found.spans or ()] == [0.8]
    assert [one.score for one in whole.spans or ()] == [0.749, 0.751]


def test_recorded_scores_are_not_rounded(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        key = served.key("predict", decimals=0)
        body = {"texts": ["goal"], "threshold": 0.5}
        told = served.client.post("/predict", json=body, headers=key).json()["predictions"][0]
        line = served.client.post("/predict/stream", content='\n"goal"', headers=key).json()
    (file,) = (tmp_path / "records").glob("predictions-*.jsonl")
    records = [json.loads(record) for record in file.read_text().splitlines()]
    assert [record["id"] for record in records] == [told["id"], line["id"]]
    assert all(0.95 < record["score"] < 0.97 for record in records)


NUMBERS = ["9" * 400, "9" * 5000, "-" + "9" * 400, "1e400", "-1e400", "1e308", "-1", "2.5", "NaN", "Infinity", "null"]


def nested(path: str, name: str) -> str:
    """A body for `path` with `%s` in the place of one number."""
    fields = {
        "/predict": '{"texts": ["a"], "%s": NUMBER}',
        "/explain": '{"text": "a", "%s": NUMBER}',
        "/feedback": '{"id": "1", "text": "a", "label": "sport", "%s": NUMBER}',
        V2: '{"inputs": [{"name": "text", "shape": [NUMBER], "datatype": "BYTES", "data": ["a"]}], "%s": NUMBER}',
    }
    return fields[path] % name


@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_that_none_of_ours_is_is_refused_wherever_it_stands(served: Served, number: str) -> None:
    key = served.key("predict", "explain", "feedback")
    names = {"/predict": ("top_k", "threshold"), "/explain": ("budget",), "/feedback": ("id",), V2: ("id", "outputs")}
    for path, name in ((path, name) for path, listed in names.items() for name in listed):
        content = nested(path, name).replace("NUMBER", number)
        status = served.client.post(path, content=content, headers=key).status_code
        # No number is none of ours, and null is as good as not there.
        allowed = {400} if number in ("NaN", "Infinity") else {422, 200} if number == "null" else {422}
        assert status in allowed, (path, name)
    for name, value in itertools.product(("top_k", "threshold"), NUMBERS):
        answer = served.client.post(f"/predict/stream?{name}={value}", content=b"", headers=key)
        assert answer.status_code == 422, (name, value)


class Private(PrivateClient):
    def __init__(self, service: TestClient, key: dict[str, str]) -> None:
        super().__init__("http://testserver", key["authorization"].removeprefix("Bearer "))
        self._client = service
        service.headers.update(key)


@pytest.mark.parametrize("number", [one for one in NUMBERS if one not in ("NaN", "Infinity")])
def test_an_envelope_with_any_time_is_refused_by_field(served: Served, number: str) -> None:
    key = served.key("predict")
    sent, _ = Private(served.client, key).seal("/predict", b'{"texts": ["a"]}')
    parts = json.loads(sent)
    content = json.dumps(parts | {"time": 0}).replace('"time": 0', f'"time": {number}')
    answer = served.client.post("/predict", content=content, headers=key | {"x-encryption": "hpke"})
    assert (answer.status_code, answer.json()["field"]) == (422, "time")


ANY = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=40).map(repr),
    st.sampled_from(["A" * 44, "AAAA", "=", "9" * 5000, "-1", " 5 "]), st.lists(st.none(), max_size=2),
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.dictionaries(st.sampled_from(["key", "time", "enc", "ciphertext", "more"]), ANY, min_size=1))
def test_an_envelope_with_anything_in_its_fields_is_refused(served: Served, changes: dict[str, Any]) -> None:
    key = served.key("predict")
    sent, _ = Private(served.client, key).seal("/predict", b'{"texts": ["a"]}')
    content = json.dumps(json.loads(sent) | changes)
    answer = served.client.post("/predict", content=content, headers=key | {"x-encryption": "hpke"})
    assert answer.status_code in ((400, 409, 422) if set(changes) != {"more"} else (200, 400))


HEADERS = st.sampled_from([
    "authorization", "content-length", "content-type", "x-encryption", "sec-fetch-site", "if-none-match",
    "transfer-encoding", "connection", "expect", "host", "origin", "range", "x-request-id", "accept-encoding",
])  # fmt: skip
VALUES = st.one_of(
    st.binary(max_size=40), st.binary(max_size=30).map(lambda value: b"Basic " + value),
    st.sampled_from([b"9" * 5000, b"-1", b"\xb2", b"Basic eDp5", b"Bearer .", b"Bearer \xff.\xff", b"hpke",
                     b"Basic " + b"/w" * 30, b"application/json; charset=utf-16", b"cross-site"]),
)  # fmt: skip


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    headers=st.lists(st.tuples(HEADERS, VALUES), max_size=4),
    path=st.sampled_from(
        ["/predict", "/predict/stream", "/explain", "/feedback", V2, "/model", "/", "/keys", "/x\ud800"]
    ),
    query=st.binary(max_size=30),
    keyed=st.booleans(),
)
def test_no_header_and_no_query_makes_the_service_fail(
    served: Served, headers: list[tuple[str, bytes]], path: str, query: bytes, keyed: bool
) -> None:
    """At the application itself: a server in front refuses many of these."""
    sent = [(name.encode(), value) for name, value in headers]
    if keyed:
        sent.insert(0, (b"authorization", served.key("predict", "explain", "feedback")["authorization"].encode()))
    method = "GET" if path in ("/model", "/", "/keys") else "POST"
    scope = {"type": "http", "method": method, "path": path, "headers": sent, "query_string": query, "client": None}
    said: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b'{"texts": ["a"]}'}

    async def send(message: Any) -> None:
        said.append(message)

    assert served.client.portal
    served.client.portal.call(served.application, scope, receive, send)
    assert said[0]["status"] < 500
