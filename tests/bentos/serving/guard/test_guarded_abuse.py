"""Hostile bytes at a worker that asks for keys and takes encrypted requests: no 5xx, no hang, no growth, no way in."""

import base64
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest

from bentos.serving.guard.api_keys import SCOPES, ApiKey, dump_keys, new_token
from bentos.serving.guard.client import PrivateClient
from bentos.serving.guard.network import API_KEYS_VARIABLE, ENVELOPES_VARIABLE
from tests.bentos.text_classifier.model_folder import grams_folder, sentence
from tests.bentos.text_classifier.servers import Process, fuzzed, worker

SECRET = re.compile(rb"[0-9a-f]{64}|Traceback|/tmp/|\.py")
"""What no answer holds: hashes of keys, traces, paths."""


class Guarded(NamedTuple):
    process: Process
    key: str
    rounded: str


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "service.json").write_text(json.dumps({"records": str(folder / "records")}))
    tokens, keys = [], []
    for scopes, limits in ((SCOPES, {"texts_a_day": 10**9, "rate": 1e6}), (("predict",), {"decimals": 2})):
        name, token, digest = new_token()
        keys.append(ApiKey(id=name, name=name, hash=digest, scopes=scopes, created=0.0, **limits))  # type: ignore[arg-type]
        tokens.append(token)
    (folder / "keys.json").write_text(dump_keys(keys))
    environment = {API_KEYS_VARIABLE: str(folder / "keys.json"), ENVELOPES_VARIABLE: str(folder / "envelopes")}
    with worker(grams_folder(folder / "model"), folder, "--grace", "0", environment=environment) as process:
        yield Guarded(process, *tokens)


def answers(guarded: Guarded) -> bool:
    with PrivateClient(guarded.process.url, guarded.key, trust_env=False, timeout=120) as client:
        return client.predict([sentence("food")])["predictions"][0]["label"] == "food"


def request(headers: bytes, body: bytes) -> bytes:
    return (
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nconnection: close\r\n"
        b"%scontent-length: %d\r\n\r\n%s" % (headers, len(body), body)
    )


def test_random_bytes_in_keys_bodies_and_envelopes_open_nothing(guarded: Guarded) -> None:
    draw = random.Random(5)
    bearer = b"authorization: Bearer " + guarded.key.encode() + b"\r\n"
    asked = json.dumps({"texts": ["goal"]}).encode()
    sealed = b"x-encryption: hpke\r\n"
    with PrivateClient(guarded.process.url, guarded.key, trust_env=False) as private:
        for _ in range(40):
            noise = draw.randbytes(draw.randrange(1, 2000))
            fields = {"key": private._current().key, "time": draw.randrange(2**40), "enc": "", "ciphertext": ""}
            fields["enc"] = base64.b64encode(noise[:32]).decode()
            envelope = json.dumps(fields).encode()
            for content in (
                noise,
                b"authorization: Bearer " + noise,
                request(b"authorization: " + noise.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n", asked),
                request(bearer, noise),
                request(bearer + sealed, noise),
                request(bearer + sealed, envelope),
                request(bearer + sealed, private.seal("/predict", noise)[0]),
                request(sealed, private.seal("/predict", asked)[0]),
            ):
                answer = guarded.process.said(content)
                assert not answer.startswith((b"HTTP/1.1 5", b"HTTP/1.1 2")), answer
                assert not SECRET.search(answer), answer
    assert answers(guarded)


def test_refused_requests_leave_no_memory_behind(guarded: Guarded) -> None:
    process = psutil.Process(guarded.process.process.pid)
    draw = random.Random(7)
    bearer = {"authorization": f"Bearer {guarded.key}", "content-type": "application/json"}
    with httpx.Client(base_url=guarded.process.url, trust_env=False, timeout=120) as client:

        def abuse(times: int) -> int:
            for number in range(times):
                unknown = {"authorization": f"Bearer {draw.randbytes(6).hex()}.{draw.randbytes(32).hex()}"}
                assert client.post("/predict", content=b"{}", headers=unknown).status_code == 401
                assert client.post("/predict", content=draw.randbytes(20_000), headers=bearer).status_code in (400, 422)
                assert client.get(f"/{number}/{draw.randbytes(50).hex()}", headers=bearer).status_code == 404
            return process.memory_info().rss

        before = abuse(200)
        assert abuse(800) - before < 8_000_000
    assert answers(guarded)


@pytest.mark.slow
@pytest.mark.parametrize("caller", ["stranger", "key", "rounded"])
def test_random_requests_get_no_5xx_with_keys_on(guarded: Guarded, tmp_path: Path, caller: str) -> None:
    described = tmp_path / "openapi.json"
    headers = {"authorization": f"Bearer {guarded.key}"}
    described.write_bytes(httpx.get(f"{guarded.process.url}/openapi.json", headers=headers, trust_env=False).content)
    options = [
        "--url",
        guarded.process.url,
        "--checks",
        "not_a_server_error",
        "--max-examples",
        "10",
        "--max-time",
        "8",
    ]
    if caller != "stranger":
        options += ["--header", f"Authorization: Bearer {guarded.key if caller == 'key' else guarded.rounded}"]
    ran = fuzzed(described, tmp_path, *options)
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr
    assert answers(guarded)
    assert "failed" not in guarded.process.log.read_text()
