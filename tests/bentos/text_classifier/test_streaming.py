import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.bentos.text_classifier.model_folder import WORDS, grams_folder, sentence
from tests.bentos.text_classifier.servers import client

URL = "/predict/stream"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client(grams_folder(tmp_path_factory.mktemp("grams")), max_text_characters=100) as started:
        yield started


def lines(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.content.splitlines()]


def test_every_line_is_answered_in_order(service: TestClient) -> None:
    asked = [list(WORDS)[number % 3] for number in range(1000)]
    body = "".join(json.dumps({"text": sentence(label)}) + "\n" for label in asked)
    answered = lines(service.post(URL, content=body))
    assert [line["label"] for line in answered] == asked
    assert [line["line"] for line in answered] == list(range(1, 1001))
    assert len({line["id"] for line in answered}) == 1000


def test_bad_lines_are_answered_in_place_and_blank_ones_skipped(service: TestClient) -> None:
    body = b'"goal"\n\nnope\n{"text": 1}\n' + json.dumps("x" * 101).encode() + b'\n{"text": "bread"}'
    answered = lines(service.post(URL, content=body))
    assert [(line["line"], line.get("label"), line.get("error", {}).get("status")) for line in answered] == [
        (1, "sport", None), (3, None, 400), (4, None, 422), (5, None, 422), (6, "food", None),
    ]  # fmt: skip


def test_lines_split_over_pieces_are_put_together(service: TestClient) -> None:
    def pieces() -> Iterator[bytes]:
        for byte in b'"goal"\n"bread"\n':
            yield bytes([byte])

    assert [line["label"] for line in lines(service.post(URL, content=pieces()))] == ["sport", "food"]


def test_options_stand_in_the_query(service: TestClient) -> None:
    answered = lines(service.post(f"{URL}?top_k=3&labels=food&labels=science", content=b'"goal"'))
    assert [entry["label"] for entry in answered[0]["labels"]] == ["science", "food"]
    refused = service.post(f"{URL}?top_k=none", content=b"")
    assert (refused.status_code, refused.json()["field"]) == (422, "top_k")
    assert service.post(f"{URL}?unknown=1", content=b"").json()["field"] == "unknown"


def test_an_empty_stream_gets_an_empty_answer(service: TestClient) -> None:
    assert lines(service.post(URL, content=b"")) == []
