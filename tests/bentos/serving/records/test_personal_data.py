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

FORMS = [json.loads(line) for line in Path(__file__).with_name("personal_data_forms.jsonl").read_text().splitlines()]
"""How personal data is written, and what looks like it: the text, and the kind and value that stand in it."""
PERSONAL = [form for form in FORMS if form["kind"]]
ORDINARY = [form for form in FORMS if not form["kind"]]


def test_the_table_holds_two_hundred_different_forms_of_either_kind() -> None:
    assert len({form["text"] for form in PERSONAL}) == len({form["text"] for form in ORDINARY}) == 200
    assert {form["kind"] for form in PERSONAL} == {"email", "card", "id", "account", "telephone", "ip", "url"}


@pytest.mark.parametrize("form", PERSONAL, ids=lambda form: ascii(form["text"]))
def test_personal_data_is_found_whole_and_once(form: dict[str, str]) -> None:
    text, value = form["text"], form["value"]
    assert [(one.kind, text[one.start : one.end]) for one in find(text)] == [(form["kind"], value)]
    assert Redactor("mask").masked(text) == text.replace(value, f"[{form['kind']}]")


@pytest.mark.parametrize("form", ORDINARY, ids=lambda form: ascii(form["text"]))
def test_ordinary_numbers_stay(form: dict[str, str]) -> None:
    assert Redactor("mask")(form["text"]) == form["text"]


def test_a_number_behind_another_one_is_found() -> None:
    for before in ("1234 ", "12 ", "9999 9999 ", "2024-05-06 "):
        assert Redactor("mask")(before + "4111 1111 1111 1111") == before + "[card]"


def test_a_value_has_one_hash_however_it_is_written() -> None:
    hashed = Redactor("hash", b"key")
    for forms in (
        (
            "4111 1111 1111 1111",
            "4111.1111.1111.1111",
            "4111\u00a01111\u00a01111\u00a01111",
            "４１１１１１１１１１１１１１１１",
        ),
        ("GB82 WEST 1234 5698 7654 32", "gb82west12345698765432"),
        ("ann@mail.example", "Ann＠mail．example"),
    ):
        assert len({hashed(form) for form in forms}) == 1
    assert hashed("203.0.113.7") != hashed("20.30.113.7")


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
    "account numbers": "GB12 ",
    "Chinese": "中１",
    "invisible signs": "1\u200b",
    "telephone numbers": "1-212-",
    "areas": "0123 ",
    "references": "order 123-45-6789 ",
    "domains": "@a.b",
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
