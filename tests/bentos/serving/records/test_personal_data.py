"""What counts as personal, what does not, and what each policy leaves of it. All numbers are made up."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from bentos.serving.http.application import Application
from bentos.serving.records.personal_data import Redactor, find
from bentos.text_classifier.kind import SERVICE
from bentos.text_classifier.settings import Settings
from tests.bentos.text_classifier.model_folder import grams_folder
from tests.bentos.text_classifier.servers import client

PERSONAL = {
    "mail ann.o+x@mail.example.org now": "email",
    "pay with 4111 1111 1111 1111 today": "card",
    "or 5500-0000-0000-0004.": "card",
    "证件号11010519491231002X，谢谢": "id",
    "ssn 123-45-6789": "id",
    "nino AB 12 34 56 C": "id",
    "to GB82 WEST 1234 5698 7654 32 please": "account",
    "call +49 30 1234567": "telephone",
    "电话13812345678": "telephone",
    "(212) 555-0123": "telephone",
    "from 192.168.10.254": "ip",
    "at 2001:db8::8a2e:370:7334": "ip",
    "see https://host.example/a?token=abc": "url",
    "ftp://user:secret@host.example/x": "url",
}

ORDINARY = [
    "order 4111 1111 1111 1112 is wrong by one",
    "编号110105194912310021不是证件",
    "version 1.2.3 of 2024-05-06 at 12:34:56",
    "it costs 1,234,567.89 euros, or 99999 points",
    "see https://host.example/docs?page=2",
    "room 000-12-3456 and 300.1.2.3",
    "use @decorator and a@b",
    "",
]


@pytest.mark.parametrize(("text", "kind"), PERSONAL.items())
def test_personal_data_is_found_whole_and_once(text: str, kind: str) -> None:
    assert [one.kind for one in find(text)] == [kind]
    masked = Redactor("mask").masked(text)
    assert f"[{kind}]" in masked
    assert not any(mark.isdigit() for mark in masked)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_numbers_stay(text: str) -> None:
    assert Redactor("mask")(text) == text


def test_policies() -> None:
    text = "ann@mail.example or ANN@mail.example or bob@mail.example"
    assert Redactor("keep")(text) == text
    assert Redactor("drop")(text) is None
    assert Redactor("drop")("nothing") == "nothing"
    hashed = Redactor("hash", b"key")(text)
    assert hashed
    first, second, third = hashed.split(" or ")
    assert first == second != third
    assert Redactor("hash", b"other")(text) != hashed
    with pytest.raises(ValueError, match="needs a key"):
        Redactor("hash")


def test_hostile_texts_take_no_long_time() -> None:
    for text in (
        "1" * 50_000,
        "a@" * 20_000,
        "1 " * 30_000,
        "+1" * 20_000,
        "a" * 50_000 + "@",
        ":" * 50_000,
        "://" * 20_000,
    ):
        find(text)


@pytest.mark.parametrize(
    ("policy", "stored"),
    [(None, "goal ann@mail.example"), ("mask", "goal [email]"), ("drop", None)],
)
def test_feedback_and_predictions_are_recorded_by_the_policy(
    tmp_path: Path, policy: str | None, stored: str | None
) -> None:
    settings = Settings(records=str(tmp_path / "records"), store_texts=True, personal_data=policy)  # type: ignore[arg-type]
    text = "goal ann@mail.example"
    with TestClient(Application(SERVICE, grams_folder(tmp_path / "model"), settings)) as client:
        assert client.post("/predict", json={"texts": [text]}).status_code == 200
        answer = client.post("/feedback", json={"id": "1", "text": text, "label": "sport"})
        assert answer.status_code == (422 if policy == "drop" else 200)
    kept = {
        file.name.partition("-")[0]: json.loads(file.read_text())["text"]
        for file in (tmp_path / "records").glob("*.jsonl")
    }
    assert kept == ({"predictions": None} if policy == "drop" else {"predictions": stored, "feedback": stored})


@pytest.mark.parametrize("policy", [None, "mask", "hash", "drop"])
def test_addresses_and_paths_in_records_follow_the_policy(tmp_path: Path, policy: str | None) -> None:
    folder = tmp_path / "records"
    settings = Settings(records=str(folder), access_log=True, personal_data=policy)  # type: ignore[arg-type]
    application = Application(SERVICE, grams_folder(tmp_path / "model"), settings)
    with TestClient(application, client=("203.0.113.7", 50000)) as client:
        assert client.get("/users/ann@mail.example").status_code == 404
        assert client.post("/predict", json={"texts": ["goal"]}).status_code == 200
        assert client.post("/feedback", json={"id": "1", "text": "goal", "label": "sport"}).status_code == 200
    kept = {file.name.partition("-")[0]: file.read_text() for file in folder.glob("*.jsonl")}
    access = [json.loads(line) for line in kept["access"].splitlines()]
    assert [line["path"] for line in access][1:] == ["/predict", "/feedback"]
    clients = {line["client"] for line in access} | {json.loads(kept["feedback"])["client"]}
    everything = "".join(kept.values())
    if policy is None:
        assert (access[0]["path"], clients) == ("/users/ann@mail.example", {"203.0.113.7"})
        return
    assert "ann@mail" not in everything
    assert "203.0.113.7" not in everything
    # One caller stays one caller, by which feedback is limited.
    assert len(clients) == 1
    assert clients.pop().startswith("client:")


def test_what_a_process_logs_is_masked_under_a_policy() -> None:
    code = (
        "import logging; from bentos.serving.records.personal_data import mask_logs;"
        "logging.basicConfig(format='%(asctime)s %(message)s'); mask_logs(); log = logging.getLogger('x');"
        "log.error('failed for %s', 'ann@mail.example')\n"
        "try: raise ValueError('no text: bob@mail.example')\n"
        "except ValueError: log.exception('a text failed')"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert "failed for [email]" in seen
    assert "ValueError: no text: [email]" in seen
    assert "mail.example" not in seen


SLOW = {
    "addresses with a query": "http://a?b",
    "addresses with a port": "http://a:",
    "schemes": "a://",
    "at signs": "a@",
    "mails": "ann@b.cc ",
    "names": "a.b-c%",
    "numbers": "1 ",
    "network addresses": "1.2.3.4 ",
    "colons": "aaaa:",
    "accounts": "AB12 ",
    "brackets": "(123) ",
    "secrets": "?token=",
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("part", SLOW.values(), ids=SLOW)
def test_the_longest_texts_are_looked_through_in_time(part: str) -> None:
    """A pattern whose time grows with the square of the length takes minutes for one of these."""
    for text in (part * (100_000 // len(part)), "http://" + part * (100_000 // len(part)) + "@"):
        assert all(text[one.start : one.end] for one in find(text))


class Noting(Redactor):
    """A redactor that notes in which threads it was at work, and waits for leave to begin."""

    def __init__(self) -> None:
        super().__init__("mask")
        self.threads: list[str] = []
        self.leave = threading.Event()

    def __call__(self, text: str) -> str | None:
        self.threads.append(threading.current_thread().name)
        assert self.leave.wait(20)
        return super().__call__(text)


def test_a_long_text_is_masked_beside_the_event_loop_and_only_a_few_may_wait(tmp_path: Path) -> None:
    with client(grams_folder(tmp_path / "model"), records=str(tmp_path / "records"), personal_data="mask") as asked:
        recorder = asked.app.recorder  # type: ignore[attr-defined]  # the application that it was given
        recorder.redact = noting = Noting()
        body = {"id": "x", "text": "ann@mail.example " * 1000, "label": "sport"}
        with ThreadPoolExecutor(20) as pool:
            answers = [pool.submit(asked.post, "/feedback", json=body) for _ in range(20)]
            assert asked.get("/livez").status_code == 200
            while sum(answer.done() for answer in answers) < 4:
                time.sleep(0.01)
            noting.leave.set()
        assert sorted(answer.result().status_code for answer in answers) == [200] * 16 + [429] * 4
        assert all(name.startswith("redact") for name in noting.threads)
    stored = "".join(file.read_text() for file in (tmp_path / "records").glob("feedback-*"))
    assert "[email]" in stored
    assert "ann@" not in stored
