"""Hostile bytes at a worker's socket: no 5xx, no hang, and it answers others meanwhile and afterwards."""

import random
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.bentos.text_classifier.model_folder import grams_folder, sentence
from tests.bentos.text_classifier.servers import Process, worker

HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("abuse")
    with worker(grams_folder(folder / "model"), folder, "--grace", "0") as process:
        yield process


def answers(served: Process) -> bool:
    with httpx.Client(base_url=served.url, trust_env=False, timeout=120) as client:
        answer = client.post("/predict", json={"texts": [sentence("food")]})
    return answer.json()["predictions"][0]["label"] == "food"


def body(content: bytes) -> bytes:
    return HEAD + b"connection: close\r\ncontent-length: %d\r\n\r\n" % len(content) + content


def test_random_bytes_break_nothing(served: Process) -> None:
    draw = random.Random(3)
    for _ in range(60):
        noise = draw.randbytes(draw.randrange(1, 3000))
        for content in (noise, HEAD + noise, body(noise)):
            assert not served.said(content).startswith(b"HTTP/1.1 5")
    assert answers(served)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b'{"texts":' * 50_000,
        b"{" + b",".join(b'"k%d":1' % number for number in range(100_000)) + b"}",
        b'{"texts": [' + b",".join([b'""'] * 200_000) + b"]}",
        b'{"texts": ["' + b"\\ud800" * 50_000 + b'"], "top_k": 1e999}',
    ],
    ids=["deep arrays", "deep objects", "many keys", "many texts", "odd numbers"],
)
def test_monstrous_json_gets_a_4xx(served: Process, content: bytes) -> None:
    assert served.said(body(content)).startswith(b"HTTP/1.1 4")
    assert answers(served)


@pytest.mark.parametrize(
    "content",
    [
        HEAD + b"content-length: 99999999999\r\n\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        HEAD + b"x: " + b"a" * 500_000 + b"\r\n\r\n",
        HEAD + b"content-encoding: gzip\r\ncontent-length: 4\r\nconnection: close\r\n\r\n\x1f\x8b\x08\x00",
    ],
    ids=["huge length", "negative length", "two lengths", "huge chunk", "huge header", "compressed"],
)
def test_lying_headers_break_nothing(served: Process, content: bytes) -> None:
    answer = served.said(content)
    assert not answer.startswith((b"HTTP/1.1 5", b"HTTP/1.1 2"))
    assert answers(served)


def test_who_announces_much_and_sends_nothing_keeps_nobody_out(served: Process) -> None:
    slow = [served.connected() for _ in range(40)]
    try:
        for client in slow:
            client.sendall(HEAD + b"content-length: 8000000\r\n\r\n{")
        assert answers(served)
    finally:
        for client in slow:
            client.close()


def test_a_body_or_a_line_that_does_not_arrive_is_refused_in_time(tmp_path: Path) -> None:
    (tmp_path / "service.json").write_text('{"max_body_seconds": 1, "max_pause_seconds": 1}')
    with worker(grams_folder(tmp_path / "model"), tmp_path, "--grace", "0") as served:
        with served.connected() as slow, served.connected() as stream:
            slow.sendall(HEAD + b"content-length: 1000000\r\n\r\n" + b"[" * 1000)
            stream.sendall(
                b"POST /predict/stream HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
                b'19\r\n"goal match league team"\n\r\n'
            )
            refused = everything(slow)
            assert refused.startswith(b"HTTP/1.1 408")
            assert b"did not arrive within 1 s" in refused
            told = everything(stream)
            assert b'"label":"sport"' in told
            assert b'"line":2,"error"' in told
        assert answers(served)


def everything(client: socket.socket) -> bytes:
    """What is said until the other side closes, or its chunks end."""
    told = b""
    while not told.endswith(b"\r\n0\r\n\r\n") and (part := client.recv(4096)):
        told += part
    return told


def test_slow_and_idle_clients_do_not_keep_others_waiting(served: Process) -> None:
    idle = [served.connected() for _ in range(150)]
    try:
        for client in idle[:50]:
            client.sendall(HEAD + b"content-length: 1000\r\n\r\n{")
        assert answers(served)
    finally:
        for client in idle:
            client.close()
    assert answers(served)
