import http.client
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import bentoml
import httpx
import pytest

from tests.bentos.text_classifier.model_folder import grams_folder
from tests.bentos.text_classifier.servers import Process, worker


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grams_folder(tmp_path_factory.mktemp("grams"))


@pytest.fixture(scope="module")
def serving(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with worker(folder, tmp_path_factory.mktemp("logs"), "--bento", "text_classifier:tagged") as process:
        yield process


def test_a_worker_answers_under_the_tag_it_was_given(serving: Process) -> None:
    answer = httpx.post(f"{serving.url}/predict", json={"texts": ["goal"]}).json()
    assert answer["predictions"][0]["label"] == "sport"
    assert answer["model"]["bento"] == "text_classifier:tagged"


def test_the_official_bentoml_client_works_on_a_worker(serving: Process) -> None:
    with bentoml.SyncHTTPClient(serving.url) as client:
        assert client.is_ready()
        answer = client.predict(texts=["goal", "bread"], top_k=2)
        assert [prediction["label"] for prediction in answer["predictions"]] == ["sport", "food"]
        assert client.explain(text="goal")["attributions"][0]["text"] == "goal"


def test_curl_works(serving: Process) -> None:
    command = ["curl", "-sS", "--json", '{"texts": ["goal"]}', f"{serving.url}/predict"]
    answer = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert answer["predictions"][0]["label"] == "sport"


def test_curl_streams_both_ways(serving: Process) -> None:
    body = "".join(f'"goal number {number}"\n' for number in range(50_000))
    command = ["curl", "-sS", "-T", "-", "-X", "POST", f"{serving.url}/predict/stream"]
    answer = subprocess.run(command, check=True, capture_output=True, input=body.encode()).stdout
    assert answer.count(b"\n") == 50_000
    assert json.loads(answer.splitlines()[-1])["line"] == 50_000


def test_a_stream_answers_a_line_before_the_next_is_sent(serving: Process) -> None:
    with socket.create_connection(("127.0.0.1", int(serving.url.rsplit(":", 1)[1])), timeout=120) as connection:
        head = "POST /predict/stream HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode())
        for _ in range(3):
            line = b'"goal"\n'
            connection.sendall(b"%x\r\n%s\r\n" % (len(line), line))
            received = b""
            while b"sport" not in received:
                received += connection.recv(65536)


def test_a_worker_imports_nothing_that_serving_does_not_need() -> None:
    code = (
        "import sys, bentos.serving.worker, bentos.serving.http.application;"
        "heavy = {'bentoml', 'tensorflow', 'keras', 'pandas', 'sklearn', 'prefect', 'pydantic', 'starlette', 'onnx'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_two_workers_of_one_socket_count_together(folder: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        shared = ("--counters", str(tmp_path / "counters"))
        with (
            worker(folder, tmp_path, *shared, listener=listener.fileno()) as first,
            worker(folder, tmp_path, *shared, listener=listener.fileno()) as second,
        ):
            assert first.url == second.url
            context = ssl.create_default_context()  # building one a client is what costs time here
            for _ in range(60):
                with httpx.Client(base_url=first.url, verify=context) as client:
                    assert client.post("/predict", json={"texts": ["goal"]}).status_code == 200
            text = httpx.get(f"{first.url}/metrics").text
    assert 'model_service_requests_total{route="/predict",status="200"} 60' in text


def test_a_swap_under_keep_alive_load_loses_no_request(folder: Path, tmp_path: Path) -> None:
    new_folder = grams_folder(tmp_path / "new", version="v2")
    versions: list[str] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def ask(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        body, kind = json.dumps({"texts": ["goal"]}), {"content-type": "application/json"}
        while not stop.is_set():
            try:
                connection.request("POST", "/predict", body, kind)
                versions.append(json.loads(connection.getresponse().read())["model"]["version"])
            except Exception as error:
                failures.append(error)
                connection.close()

    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.set_inheritable(True)
        with worker(folder, tmp_path, listener=listener.fileno()) as old:
            threads = [threading.Thread(target=ask, args=(listener.getsockname()[1],)) for _ in range(8)]
            for thread in threads:
                thread.start()
            time.sleep(0.3)
            with worker(new_folder, tmp_path, listener=listener.fileno()):
                old.process.terminate()
                assert old.process.wait(120) == 0
                asked_of_old = len(versions)
                time.sleep(0.3)
                stop.set()
                for thread in threads:
                    thread.join()
    assert failures == []
    assert versions[0] == "v1"
    assert set(versions[asked_of_old + 8 :]) == {"v2"}


def test_a_request_at_work_is_answered_before_the_worker_ends(folder: Path, tmp_path: Path) -> None:
    with worker(folder, tmp_path, "--grace", "0.1") as serving:
        connection = http.client.HTTPConnection(serving.url.removeprefix("http://"), timeout=120)
        body = json.dumps({"texts": ["goal match bread " * 1000] * 400}).encode()
        connection.putrequest("POST", "/predict")
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", str(len(body)))
        connection.endheaders()
        connection.send(body[:-10])
        time.sleep(0.2)
        serving.process.terminate()
        time.sleep(0.3)
        connection.send(body[-10:])
        response = connection.getresponse()
        assert (response.status, response.getheader("connection")) == (200, "close")
        assert len(json.loads(response.read())["predictions"]) == 400
        assert serving.process.wait(120) == 0


def test_a_broken_model_ends_the_worker_with_a_reason_and_no_word_of_readiness(tmp_path: Path) -> None:
    folder = grams_folder(tmp_path)
    (folder / "model.onnx").write_bytes(b"no graph")
    command = [sys.executable, "-m", "bentos.serving.worker", "text_classifier", "--model", str(folder), "--port", "0"]
    ended = subprocess.run([*command, "--ready-fd", "1"], capture_output=True, timeout=120, check=False)
    assert ended.returncode != 0
    assert ended.stdout == b""
    assert b"model.onnx cannot be loaded" in ended.stderr


def test_clients_that_leave_are_counted_and_cost_the_others_nothing(folder: Path, tmp_path: Path) -> None:
    with worker(folder, tmp_path) as serving:
        port = int(serving.url.rsplit(":", 1)[1])
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as connection:
                connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert httpx.post(f"{serving.url}/predict", json={"texts": ["goal"]}).status_code == 200
        deadline = time.monotonic() + 240
        while "disconnects_total 20" not in httpx.get(f"{serving.url}/metrics").text:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_random_bytes_on_the_socket_do_no_harm(serving: Process) -> None:
    port = int(serving.url.rsplit(":", 1)[1])
    for noise in (b"\x00" * 1000, b"GET", b"POST /predict HTTP/9.9\r\n\r\n", b"\r\n" * 100, bytes(range(256)) * 10):
        with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
            connection.sendall(noise)
    assert httpx.get(f"{serving.url}/readyz").status_code == 200


def test_a_burst_is_refused_with_429_and_over_within_a_second(tmp_path: Path, folder: Path) -> None:
    settings = tmp_path / "service.json"
    settings.write_text('{"max_queue": 4, "max_wait_seconds": 0.2}')
    body = {"texts": ["goal match bread " * 2000] * 8}
    statuses: list[int] = []

    context = ssl.create_default_context()

    def ask(url: str) -> None:
        answer = httpx.post(f"{url}/predict", json=body, timeout=120, verify=context)
        statuses.append(answer.status_code)
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) >= 1

    with worker(folder, tmp_path, "--settings", str(settings)) as serving:
        threads = [threading.Thread(target=ask, args=(serving.url,)) for _ in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 429}
        assert httpx.post(f"{serving.url}/predict", json={"texts": ["goal"]}).status_code == 200
