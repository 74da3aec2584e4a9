"""Real workers, and `bentoml serve`, under clients that send too much, too little, or do not read."""

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bentos.serving.guard.network import CERTIFICATE_KEY_VARIABLE, CERTIFICATE_VARIABLE
from tests.bentos.serving.http.floods import FLOODS, HEAD, connected, flood, gone, unread_streams, until, watched
from tests.bentos.text_classifier.model_folder import grams_folder, sentence
from tests.bentos.text_classifier.servers import Process, bentoml_served, worker
from tests.tasks.keys import certificate

SHORT = {"max_head_seconds": 1, "max_idle_seconds": 1, "max_unread_seconds": 1}


def answers(url: str) -> bool:
    with httpx.Client(base_url=url, trust_env=False, timeout=20) as client:
        return client.post("/predict", json={"texts": [sentence("food")]}).status_code == 200


def impatient(folder: Path, **settings: float) -> Path:
    """A model folder whose service has short times."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "service.json").write_text(json.dumps(SHORT | settings))
    return grams_folder(folder / "model")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("floods")
    with worker(grams_folder(folder / "model"), folder, "--grace", "0") as process:
        answers(process.url)
        yield process


@pytest.fixture(scope="module")
def behind_bentoml(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[int]]]:
    with bentoml_served(impatient(tmp_path_factory.mktemp("impatient")), tmp_path_factory.mktemp("bentoml")) as served:
        yield served


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_takes_no_memory_and_others_are_answered(started: Process, name: str) -> None:
    with watched(started.url, started.process.pid) as seen:
        flood(started.port, *FLOODS[name], seconds=3)
    assert (seen["answers"] > 0, seen["refusals"]) == (True, 0)
    assert seen["megabytes"] < 50
    assert answers(started.url)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /livez HTTP/1.1\r\nx: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET /livez HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n", 431),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx: y\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
    ],
    ids=["address", "header", "headers", "trailer", "TLS"],
)
def test_what_is_too_large_or_no_http_is_refused_with_a_reason(started: Process, sent: bytes, status: int) -> None:
    with started.connected() as client:
        client.sendall(sent)
        head, _, content = gone(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in head
    assert json.loads(content)["status"] == status


def test_heads_within_the_bounds_are_taken_however_they_are_cut(started: Process) -> None:
    head = b"GET /livez?" + b"a" * 16_000 + b" HTTP/1.1\r\nhost: x\r\n" + b"x: yyyyyyy\r\n" * 100 + b"\r\n"
    for size in (len(head), 1000, 7):
        with started.connected() as client:
            for start in range(0, len(head), size):
                client.sendall(head[start : start + size])
            assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_a_long_pipeline_is_answered_in_order_however_it_is_cut(started: Process) -> None:
    paths = [b"/livez", b"/nothing-here", b"/readyz", b"/predict"] * 60
    body = b'{"texts": ["HTTP/1.1 HTTP/1.1"]}'
    post = HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
    sent = b"".join(post if path == b"/predict" else b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path for path in paths)
    sent += b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    for size in (len(sent), 997):
        with started.connected() as client:
            for start in range(0, len(sent), size):
                client.sendall(sent[start : start + size])
            statuses = [line[:3] for line in gone(client).split(b"HTTP/1.1 ")[1:] if line[3:4] == b" "]
        assert [int(status) for status in statuses] == [200, 404, 200, 200] * 60 + [200]


def test_what_follows_an_answer_that_is_at_work_does_not_spoil_it(started: Process) -> None:
    body = json.dumps({"texts": [sentence("food")] * 50}).encode()
    with started.connected() as client:
        client.sendall(HEAD + b"content-length: %d\r\n\r\n" % len(body) + body + b"\x00no request\r\n\r\n")
        told = gone(client)
    assert told.startswith(b"HTTP/1.1 200")
    assert b'"predictions"' in told


def test_who_says_nothing_or_too_little_is_closed_in_time(tmp_path: Path) -> None:
    with worker(impatient(tmp_path), tmp_path, "--grace", "0") as served:
        with served.connected() as silent, served.connected() as half, served.connected() as idle:
            half.sendall(b"GET /livez HTTP/1.1\r\nhost")
            idle.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
            assert gone(silent) == b""
            assert gone(half).startswith(b"HTTP/1.1 408")
            assert gone(idle).startswith(b"HTTP/1.1 200")
        assert answers(served.url)


def test_who_does_not_finish_a_handshake_is_closed_in_time(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "tls")
    environment = {CERTIFICATE_VARIABLE: str(cert), CERTIFICATE_KEY_VARIABLE: str(key)}
    with worker(impatient(tmp_path), tmp_path, "--grace", "0", environment=environment) as served:
        with served.connected() as silent:
            assert gone(silent) == b""
        context = ssl.create_default_context(cafile=str(cert))
        assert httpx.get(f"{served.url}/livez", verify=context).status_code == 200


def test_streams_whose_clients_do_not_read_give_way(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        worker(impatient(tmp_path, max_streams=4), tmp_path, "--grace", "0", listener=_narrow(listener)) as served,
    ):
        clients = unread_streams(served.port, 4)
        try:
            ask = {"url": f"{served.url}/predict/stream", "content": b'"goal"\n', "timeout": 20}
            assert httpx.post(**ask).status_code == 429  # type: ignore[arg-type]
            assert until(lambda: httpx.post(**ask).status_code == 200)  # type: ignore[arg-type]
        finally:
            for client in clients:
                client.close()


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nhost"], ids=["nothing", "half a head"])
def test_more_connections_than_descriptors_shut_nobody_out(tmp_path: Path, sent: bytes) -> None:
    with worker(grams_folder(tmp_path / "model"), tmp_path, "--grace", "0", descriptors=128) as served:
        assert answers(served.url)
        with connected(served.port, 300, sent):
            assert answers(served.url)
            assert httpx.get(f"{served.url}/livez").status_code == 200


def test_when_all_connections_are_at_work_probes_are_answered_and_others_told(tmp_path: Path) -> None:
    with worker(grams_folder(tmp_path / "model"), tmp_path, "--grace", "0", descriptors=128) as served:
        with connected(served.port, 300, HEAD + b"content-length: 100\r\n\r\n{"):
            assert until(lambda: _status(served.url, "/livez") == 200)
            assert _status(served.url, "/model") == 503
        assert until(lambda: answers(served.url))


def _narrow(listener: socket.socket) -> int:
    """The descriptor of the listening socket, whose connections soon take no more of an answer that nobody reads."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    listener.set_inheritable(True)
    return listener.fileno()


def _status(url: str, path: str) -> int:
    with httpx.Client(trust_env=False, timeout=20) as client:
        return client.get(url + path).status_code


@pytest.mark.parametrize("name", ["header lines", "an address", "one trailer", "requests in a pipeline"])
def test_behind_bentoml_a_flood_takes_no_memory_either(behind_bentoml: tuple[str, list[int]], name: str) -> None:
    url, workers = behind_bentoml
    with watched(url, workers[0]) as seen, watched(url, workers[-1]) as also:
        flood(int(url.rpartition(":")[2]), *FLOODS[name], seconds=3)
    assert seen["megabytes"] < 50
    assert also["megabytes"] < 50


def test_behind_bentoml_who_says_too_little_is_closed_in_time_too(behind_bentoml: tuple[str, list[int]]) -> None:
    port = int(behind_bentoml[0].rpartition(":")[2])
    with connected(port, 1) as (silent,), connected(port, 1, b"GET /livez HTTP/1.1\r\nhost") as (half,):
        assert gone(silent) == b""
        assert gone(half).startswith(b"HTTP/1.1 408")
