"""A protected service asked with the wrong key, the wrong scope, too often, too much, and twice."""

import base64
import dataclasses
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from starlette.testclient import TestClient

from bentos.serving.guard import api_keys, envelope
from bentos.serving.guard.access import Access
from bentos.serving.guard.api_keys import SCOPES, ApiKey, KeyRing, dump_keys, new_token
from bentos.serving.guard.client import PrivateClient
from bentos.serving.guard.envelope import Envelopes
from bentos.serving.http.application import Application
from bentos.text_classifier.kind import SERVICE
from bentos.text_classifier.settings import Settings
from tests.bentos.text_classifier.model_folder import grams_folder, sentence

SPORT = sentence("sport")
BODY = {"texts": [SPORT]}


class Keys:
    """A file of API keys for a test."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.keys: list[ApiKey] = []

    def add(self, *scopes: Any, **limits: Any) -> dict[str, str]:
        """The header of a new key."""
        key, token, digest = new_token()
        self.keys.append(ApiKey(id=key, name=f"caller-{key}", hash=digest, scopes=scopes, created=0.0, **limits))
        self.write()
        return {"authorization": f"Bearer {token}"}

    def write(self) -> None:
        self.file.write_text(dump_keys(self.keys))


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    monkeypatch.setattr(api_keys, "_LOOK_SECONDS", 0.0)
    return Keys(tmp_path / "api_keys.json")


@pytest.fixture
def service(keys: Keys, tmp_path: Path) -> Iterator[TestClient]:
    guard = Access(keys.file, Envelopes(tmp_path / "envelopes"), workers=1)
    settings = Settings(records=str(tmp_path / "records"))
    with TestClient(Application(SERVICE, grams_folder(tmp_path / "model"), settings, guard=guard)) as client:
        yield client


def test_without_a_key_only_probes_page_files_and_public_keys_answer(service: TestClient) -> None:
    for path in ("/predict", "/explain", "/feedback", "/predict/stream", "/v2/models/text_classifier/infer"):
        assert service.post(path, json=BODY).status_code == 401, path
    for path in ("/model", "/metrics", "/", "/docs", "/openapi.json", "/v2"):
        assert service.get(path).status_code == 401, path
    for path in ("/readyz", "/livez", "/main.js", "/style.css", "/keys"):
        assert service.get(path).status_code == 200, path


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer x",
        "Bearer .",
        "Basic x",
        "Basic eDp5",
        "Bearer " + "a" * 5000,
        "Bearer \xff.\xff",
        "Digest x",
    ],
)
def test_a_key_that_is_none_is_refused(service: TestClient, keys: Keys, value: str) -> None:
    keys.add("predict")
    answer = service.post("/predict", json=BODY, headers={b"authorization": value.encode("latin-1")})  # type: ignore[dict-item]
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"]


def test_a_wrong_secret_under_a_right_id_is_refused(service: TestClient, keys: Keys) -> None:
    right = keys.add("predict")
    assert service.post("/predict", json=BODY, headers=right).status_code == 200
    for wrong in (
        right["authorization"][:-1],
        right["authorization"] + "x",
        f"Bearer {keys.keys[0].id}.{keys.keys[0].hash}",
    ):
        assert service.post("/predict", json=BODY, headers={"authorization": wrong}).status_code == 401


def test_the_file_holds_no_token(keys: Keys) -> None:
    token = keys.add("predict")["authorization"].removeprefix("Bearer ")
    assert token.partition(".")[2] not in keys.file.read_text()


def test_a_key_is_good_for_its_scopes_alone(service: TestClient, keys: Keys) -> None:
    asked: dict[str, Any] = {
        "predict": lambda key: service.post("/predict", json=BODY, headers=key),
        "explain": lambda key: service.post("/explain", json={"text": SPORT}, headers=key),
        "feedback": lambda key: service.post(
            "/feedback", json={"id": "1", "text": SPORT, "label": "sport"}, headers=key
        ),
        "admin": lambda key: service.get("/metrics", headers=key),
    }
    for scope in SCOPES:
        key = keys.add(scope)
        assert {name: ask(key).status_code for name, ask in asked.items()} == {
            name: 200 if name == scope else 403 for name in asked
        }


@pytest.mark.parametrize("name", ['"explain"', '"expl\\u0061in"'])
def test_explanations_cannot_be_had_through_predict(service: TestClient, keys: Keys, name: str) -> None:
    body = '{"texts": ["' + SPORT + '"], ' + name + ": true}"
    headers = {"content-type": "application/json"}
    assert service.post("/predict", content=body, headers=headers | keys.add("predict")).status_code == 403
    assert service.post("/predict", content=body, headers=headers | keys.add("predict", "explain")).status_code == 200


def test_a_revoked_or_expired_key_is_refused_at_once(service: TestClient, keys: Keys) -> None:
    key, other = keys.add("predict"), keys.add("predict", expires=time.time() - 1)
    assert service.post("/predict", json=BODY, headers=key).status_code == 200
    assert service.post("/predict", json=BODY, headers=other).status_code == 401
    keys.keys.clear()
    keys.write()
    assert service.post("/predict", json=BODY, headers=key).status_code == 401


@pytest.mark.parametrize("text", [None, "", "{", '{"keys": [{"id": "x"}]}'])
def test_a_missing_or_damaged_key_file_lets_nobody_in(service: TestClient, keys: Keys, text: str | None) -> None:
    key = keys.add("predict")
    assert service.post("/predict", json=BODY, headers=key).status_code == 200
    keys.file.unlink()
    if text is not None:
        keys.file.write_text(text)
    assert service.post("/predict", json=BODY, headers=key).status_code == 401


def test_a_key_beyond_its_rate_is_told_when_to_come_back_and_others_are_not(service: TestClient, keys: Keys) -> None:
    slow, other = keys.add("predict", rate=1.0), keys.add("predict")
    statuses = [service.post("/predict", json=BODY, headers=slow).status_code for _ in range(6)]
    assert statuses[:2] == [200, 200]
    assert 429 in statuses
    assert service.post("/predict", json=BODY, headers=slow).headers["retry-after"] == "1"
    assert service.post("/predict", json=BODY, headers=other).status_code == 200


def test_a_key_has_its_own_limit_of_size(service: TestClient, keys: Keys) -> None:
    key = keys.add("predict", max_body_mb=0.001) | {"content-type": "application/json"}
    body = json.dumps({"texts": ["goal " * 400]}).encode()
    assert service.post("/predict", content=body, headers=key).status_code == 413
    chunks = (body[start : start + 100] for start in range(0, len(body), 100))
    assert service.post("/predict", content=chunks, headers=key).status_code == 413


def test_a_key_has_its_texts_of_the_day(service: TestClient, keys: Keys) -> None:
    key = keys.add("predict", texts_a_day=5)
    assert service.post("/predict", json={"texts": [SPORT] * 3}, headers=key).status_code == 200
    answer = service.post("/predict", json={"texts": [SPORT] * 3}, headers=key)
    assert (answer.status_code, answer.json()["detail"]) == (429, "this key's texts of the day are used up")
    assert service.post("/predict", json={"texts": [SPORT] * 2}, headers=key).status_code == 200
    streamed = service.post("/predict/stream", content=b'{"text": "a"}\n', headers=key).json()
    assert streamed["error"]["status"] == 429


@pytest.mark.parametrize("data", [None, 3, {"a": 1}])
def test_texts_that_cannot_be_counted_are_refused_by_the_schema(service: TestClient, keys: Keys, data: object) -> None:
    body = {"inputs": [{"name": "text", "shape": [0], "datatype": "BYTES", "data": data}]}
    headers = keys.add("predict", texts_a_day=5)
    answer = service.post("/v2/models/text_classifier/infer", json=body, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (422, "inputs[0].data")


def test_a_key_has_its_explanations_of_the_day(service: TestClient, keys: Keys) -> None:
    key = keys.add("predict", "explain", explanations_a_day=3)
    explained = BODY | {"explain": True}
    assert service.post("/explain", json={"text": SPORT}, headers=key).status_code == 200
    two = service.post("/predict", json={"texts": [SPORT] * 2, "explain": True}, headers=key)
    assert two.status_code == 200
    for path, body in (("/explain", {"text": SPORT}), ("/predict", explained)):
        answer = service.post(path, json=body, headers=key)
        assert (answer.status_code, answer.json()["detail"]) == (429, "this key's explanations of the day are used up")
        assert 0 < int(answer.headers["retry-after"]) <= 86400
    assert service.post("/predict", json=BODY, headers=key).status_code == 200


def test_what_is_refused_for_one_budget_spends_nothing_of_the_other(service: TestClient, keys: Keys) -> None:
    key = keys.add("predict", "explain", texts_a_day=3, explanations_a_day=1)
    assert service.post("/predict", json={"texts": [SPORT] * 2, "explain": True}, headers=key).status_code == 429
    assert service.post("/predict", json={"texts": [SPORT] * 3}, headers=key).status_code == 200


def test_a_key_without_a_limit_is_written_as_versions_before_that_limit_read_it(keys: Keys) -> None:
    keys.add("predict", rate=1.0)
    (stored,) = json.loads(keys.file.read_text())["keys"]
    assert set(stored) == {"id", "name", "hash", "scopes", "created", "rate"}


@pytest.mark.parametrize(("decimals", "score"), [(0, 1.0), (1, 1.0)])
def test_a_key_for_rounded_scores_gets_no_others(service: TestClient, keys: Keys, decimals: int, score: float) -> None:
    key = keys.add("predict", decimals=decimals)
    answer = service.post("/predict", json={"texts": [SPORT], "top_k": 3}, headers=key).json()["predictions"][0]
    assert answer["score"] == score
    assert all(one["score"] == round(one["score"], decimals) for one in answer["labels"])
    exact = service.post("/predict", json=BODY, headers=keys.add("predict")).json()["predictions"][0]["score"]
    assert exact != round(exact, 3)


def test_a_browser_may_give_the_key_as_a_password_but_not_for_another_site(service: TestClient, keys: Keys) -> None:
    token = keys.add("predict")["authorization"].removeprefix("Bearer ")
    basic = {"authorization": "Basic " + base64.b64encode(f"me:{token}".encode()).decode()}
    assert service.post("/predict", json=BODY, headers=basic | {"sec-fetch-site": "same-origin"}).status_code == 200
    assert service.post("/predict", json=BODY, headers=basic | {"sec-fetch-site": "cross-site"}).status_code == 403
    assert service.get("/", headers=basic).status_code == 200


def test_records_name_the_caller_and_no_key(service: TestClient, keys: Keys, tmp_path: Path) -> None:
    key = keys.add("predict", "feedback")
    body = {"id": "1", "text": SPORT, "label": "sport"}
    assert service.post("/feedback", json=body, headers=key).status_code == 200
    (file,) = (tmp_path / "records").glob("feedback-*")
    assert json.loads(file.read_text())["client"] == keys.keys[0].name
    assert key["authorization"].partition(".")[2] not in file.read_text()


def test_every_answer_carries_the_security_headers(service: TestClient, keys: Keys) -> None:
    key = keys.add(*SCOPES)
    for path in ("/", "/docs", "/model", "/nowhere", "/readyz", "/main.js"):
        headers = service.get(path, headers=key).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["x-frame-options"] == "DENY", path
    for path in ("/", "/docs"):
        assert "default-src 'none'" in service.get(path, headers=key).headers["content-security-policy"]


def test_reading_the_keys_again_finds_a_change_of_the_same_size(keys: Keys) -> None:
    token = keys.add("predict")["authorization"].removeprefix("Bearer ")
    ring = KeyRing(keys.file)
    assert ring.find(token)
    changed = keys.file.read_text().replace(keys.keys[0].hash, "0" * 64)
    partial = keys.file.with_suffix(".new")
    partial.write_text(changed)
    os.utime(partial, ns=(keys.file.stat().st_mtime_ns, keys.file.stat().st_mtime_ns))
    partial.replace(keys.file)
    assert ring.find(token) is None


class Private(PrivateClient):
    """The product's client over an application in this process."""

    def __init__(self, service: TestClient, key: dict[str, str]) -> None:
        super().__init__("http://testserver", key["authorization"].removeprefix("Bearer "))
        self._client = service
        service.headers.update(key)


ENCRYPTED = {"content-type": "application/json", "x-encryption": "hpke"}


@pytest.fixture
def private(service: TestClient, keys: Keys) -> Private:
    return Private(service, keys.add(*SCOPES))


def test_an_encrypted_request_gets_its_answer_encrypted(service: TestClient, private: Private) -> None:
    assert private.predict([SPORT])["predictions"][0]["label"] == "sport"
    sent, _ = private.seal("/predict", json.dumps(BODY).encode())
    answer = service.post("/predict", content=sent, headers=ENCRYPTED)
    assert answer.headers["x-encryption"] == "hpke"
    for text in (b"goal", b"sport", b"predictions"):
        assert text not in sent
        assert text not in answer.content


def test_a_refusal_comes_back_encrypted_too(private: Private) -> None:
    with pytest.raises(httpx.HTTPStatusError, match=r"422.*not one of the model's labels"):
        private.ask("/predict", {"texts": [SPORT], "labels": ["secret label"]})


def test_a_request_is_answered_once_by_all_workers_together(
    service: TestClient, private: Private, tmp_path: Path
) -> None:
    sent, _ = private.seal("/predict", json.dumps(BODY).encode())
    assert service.post("/predict", content=sent, headers=ENCRYPTED).status_code == 200
    assert service.post("/predict", content=sent, headers=ENCRYPTED).status_code == 409
    beside = Access(None, Envelopes(tmp_path / "envelopes"), workers=2)
    with TestClient(Application(SERVICE, tmp_path / "model", Settings(), guard=beside)) as other:
        assert other.post("/predict", content=sent, headers=ENCRYPTED).status_code == 409


def changed(sent: bytes, **fields: Any) -> bytes:
    return json.dumps(json.loads(sent) | fields).encode()


def test_an_envelope_that_was_touched_is_not_opened(service: TestClient, private: Private) -> None:
    sent, _ = private.seal("/predict", json.dumps(BODY).encode())
    parts = json.loads(sent)
    flipped = bytearray(base64.b64decode(parts["ciphertext"]))
    flipped[3] ^= 1
    touched = [
        changed(sent, ciphertext=base64.b64encode(flipped).decode()),
        changed(sent, ciphertext=parts["ciphertext"][:-8]),
        changed(sent, ciphertext="?"),
        changed(sent, time=parts["time"] + 1),
        changed(sent, enc=base64.b64encode(bytes(32)).decode()),
        changed(sent, enc="AAAA"),
        b"\xff",
    ]
    for content in touched:
        assert service.post("/predict", content=content, headers=ENCRYPTED).status_code == 400, content
    for content, field in ((changed(sent, enc=7), "enc"), (json.dumps(BODY).encode(), "key")):
        answer = service.post("/predict", content=content, headers=ENCRYPTED)
        assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert service.post("/explain", content=sent, headers=ENCRYPTED).status_code == 400
    assert service.post("/predict", content=sent, headers=ENCRYPTED).status_code == 200


def test_an_old_request_and_an_old_key_are_refused(service: TestClient, private: Private) -> None:
    sent, _ = private.seal("/predict", json.dumps(BODY).encode())
    period = int(json.loads(sent)["key"])
    for key in (period - 2, period + 1, -1, "x"):
        assert service.post("/predict", content=changed(sent, key=str(key)), headers=ENCRYPTED).status_code in (
            400,
            409,
        )
    private._ahead = -envelope.WINDOW_SECONDS - 60
    late, _ = private.seal("/predict", json.dumps(BODY).encode())
    assert service.post("/predict", content=late, headers=ENCRYPTED).status_code == 409


@dataclasses.dataclass
class Clock:
    """Stands for the module `time`."""

    now: float = 3600.0 * 500

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(envelope, "time", clock)
    return clock


def key_files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("*.key"))


def test_keys_are_rotated(tmp_path: Path, clock: Clock) -> None:
    envelopes, other = Envelopes(tmp_path / "keys"), Envelopes(tmp_path / "keys")
    first = envelopes.published()
    assert other.published().public_key == first.public_key
    assert (tmp_path / "keys" / "500.key").stat().st_mode & 0o077 == 0
    clock.now += envelope.PERIOD_SECONDS
    assert envelopes.published().public_key != first.public_key


def test_a_service_that_nobody_asks_removes_keys_that_are_over(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "_TIDY_SECONDS", 0.01)
    Envelopes(tmp_path / "keys").published()
    (tmp_path / "keys" / "opened" / str(int(clock.now) // envelope.WINDOW_SECONDS)).mkdir(parents=True)
    clock.now += 2 * envelope.PERIOD_SECONDS
    end = time.monotonic() + 30
    while key_files(tmp_path / "keys") or list((tmp_path / "keys" / "opened").iterdir()):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_workers_agree_on_the_key_after_the_clock_went_ahead_and_back(tmp_path: Path, clock: Clock) -> None:
    one, other = Envelopes(tmp_path / "keys"), Envelopes(tmp_path / "keys")
    assert one.published().public_key == other.published().public_key
    clock.now += 400 * 86400
    ahead = one.published().key
    one.forget()
    clock.now -= 400 * 86400
    assert other.published() == one.published()
    one.forget()
    assert f"{ahead}.key" not in key_files(tmp_path / "keys")


def test_encrypted_requests_are_refused_where_they_are_off(tmp_path: Path, keys: Keys) -> None:
    guard = Access(keys.file, None, workers=1)
    with TestClient(Application(SERVICE, grams_folder(tmp_path / "model"), Settings(), guard=guard)) as client:
        answer = client.post("/predict", content=b"{}", headers=ENCRYPTED | keys.add("predict"))
        assert answer.status_code == 415
        assert client.get("/keys").status_code == 404


def test_a_stream_takes_no_encrypted_requests(service: TestClient, keys: Keys) -> None:
    answer = service.post("/predict/stream", content=b"{}", headers=ENCRYPTED | keys.add(*SCOPES))
    assert msgspec.json.decode(answer.content)["detail"] == "encrypted requests are not taken here"
