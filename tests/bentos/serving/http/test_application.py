import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from starlette.testclient import TestClient

from bentos.serving.guard.api_keys import ApiScope
from bentos.serving.http.application import Application
from bentos.serving.http.asgi import Cost, Request, Response
from bentos.serving.http.problems import Problem
from bentos.serving.http.route import Route
from bentos.serving.model_folder import ModelError
from bentos.serving.settings import SettingsError, load_settings
from bentos.text_classifier.kind import SERVICE
from bentos.text_classifier.manifest import GRAPH
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.predictor import open_model
from bentos.text_classifier.settings import Settings
from tests.bentos.text_classifier.model_folder import WORDS, grams_folder, sentence, tokens_folder
from tests.bentos.text_classifier.servers import client


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grams_folder(tmp_path_factory.mktemp("grams"))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("records")


@pytest.fixture(scope="module")
def service(folder: Path, records: Path) -> Iterator[TestClient]:
    with client(folder, records=str(records), prediction_share=1.0, access_log=True) as started:
        yield started


def strict(answer: Any) -> Any:
    """The answer's JSON; NaN and Infinity, which Python reads and JSON has not, fail."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    return json.loads(answer.content.decode("utf-8"), parse_constant=refuse)


def test_a_prediction_holds_id_label_score_labels_and_scope(service: TestClient) -> None:
    answer = strict(service.post("/predict", json={"texts": [sentence("sport"), sentence("food")]}))
    assert [prediction["label"] for prediction in answer["predictions"]] == ["sport", "food"]
    for prediction in answer["predictions"]:
        assert set(prediction) == {"id", "label", "score", "labels", "in_scope"}
        assert prediction["labels"] == [{"label": prediction["label"], "score": prediction["score"]}]
    ids = [prediction["id"] for prediction in answer["predictions"]]
    assert len(set(ids)) == 2
    assert answer["model"] == {"bento": "text_classifier:v1", "name": "text_classifier", "version": "v1"}


def test_the_service_answers_as_the_model_in_process(service: TestClient, folder: Path) -> None:
    texts = [sentence(label, length) for label in WORDS for length in (1, 3, 40)]
    answered = strict(service.post("/predict", json={"texts": texts, "top_k": 3}))["predictions"]
    for text, prediction in zip(texts, answered, strict=True):
        (expected,) = TextModel.load(folder).predict([text])
        assert prediction["label"] == expected.label
        assert prediction["score"] == pytest.approx(expected.score, abs=1e-6)
        assert sum(entry["score"] for entry in prediction["labels"]) == pytest.approx(1.0, abs=1e-6)


def test_options_choose_how_many_and_which_labels(service: TestClient) -> None:
    def labels(**options: Any) -> list[str]:
        answer = service.post("/predict", json={"texts": ["goal bread"], **options})
        return [entry["label"] for entry in strict(answer)["predictions"][0]["labels"]]

    assert labels(top_k=2) == ["sport", "food"]
    assert labels(top_k=3, threshold=0.3) == ["sport", "food"]
    assert labels(top_k=3, labels=["food", "science"]) == ["food", "science"]
    assert labels(threshold=1.0) == []


def test_a_multi_label_model_answers_every_label_above_its_threshold(tmp_path: Path) -> None:
    with client(grams_folder(tmp_path, task="multi")) as service:
        answer = strict(service.post("/predict", json={"texts": ["goal bread", "unknown"]}))
    both, none = answer["predictions"]
    assert {entry["label"] for entry in both["labels"]} == {"sport", "food"}
    assert none["labels"] == []


STRANGE = {
    "empty": "",
    "blank": " \t\n ",
    "zero width": "\u200b\ufeff\u2060",
    "control characters": "\x00\x01\x1b",
    "unknown words": "zzz qqq",
    "emoji": "👩‍👩‍👧",
    "combining": "e" + "\u0301" * 1000,
    "long": "goal " * 20_000,
    "right to left": "\u202e\u0627\u0644",
}


@pytest.mark.parametrize("text", STRANGE.values(), ids=STRANGE)
@pytest.mark.parametrize("build", [grams_folder, tokens_folder])
def test_any_text_gets_finite_scores_in_strict_json(tmp_path: Path, text: str, build: Any) -> None:
    with client(build(tmp_path)) as service:
        answer = service.post("/predict", json={"texts": [text], "top_k": 3})
    assert answer.status_code == 200
    (prediction,) = strict(answer)["predictions"]
    assert all(math.isfinite(entry["score"]) for entry in prediction["labels"])
    assert len(prediction["labels"]) == 3


def test_blank_texts_are_answered_and_out_of_scope(service: TestClient) -> None:
    texts = ["", " \n", "\u200b", "goal", "?"]
    predictions = strict(service.post("/predict", json={"texts": texts}))["predictions"]
    assert [prediction["in_scope"] for prediction in predictions] == [False, False, False, None, None]


def test_lone_surrogates_are_read_as_replacement_characters(service: TestClient) -> None:
    body = b'{"texts": ["\\ud800 goal", "goal \\udfff", "\\ud83d\\ude00 goal"], "explain": true}'
    answer = service.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 200
    for prediction in strict(answer)["predictions"]:
        assert prediction["label"] == "sport"
    assert strict(answer)["predictions"][0]["attributions"][0]["text"] == "\ufffd"


REFUSED = {
    "no JSON": (b"{", 400, None),
    "no UTF-8": (b'{"texts": ["\xff"]}', 400, None),
    "nothing": (b"", 400, None),
    "deep nesting": (b'{"texts": ' + b"[" * 100_000, 422, "texts[0]"),
    "deep nesting beside a surrogate": (b'{"texts": ["\\ud800"], "x": ' + b"[" * 100_000, 422, "x"),
    "NaN beside a surrogate": (b'{"texts": ["\\ud800"], "threshold": NaN}', 400, None),
    "a list": (b"[]", 422, None),
    "no texts": (b"{}", 422, "texts"),
    "a huge number beside a surrogate": (b'{"texts": ["\\ud800"], "threshold": 1e999}', 422, "threshold"),
    "a number that is not finite": (b'{"texts": [], "threshold": 1e999}', 422, "threshold"),
    "a number of 400 digits": (b'{"texts": [], "top_k": %s}' % (b"9" * 400), 422, "top_k"),
    "a number of 5000 digits": (b'{"texts": [], "top_k": %s}' % (b"9" * 5000), 422, "top_k"),
    "half an escape": (b'{"texts": ["\\ud8"]}', 400, None),
    "a number for a text": (b'{"texts": ["a", 1]}', 422, "texts[1]"),
    "a text for texts": (b'{"texts": "a"}', 422, "texts"),
    "unknown field": (b'{"texts": [], "topk": 1}', 422, "topk"),
    "top_k of none": (b'{"texts": [], "top_k": 0}', 422, "top_k"),
    "threshold above one": (b'{"texts": [], "threshold": 1.5}', 422, "threshold"),
    "unknown label": (b'{"texts": [], "labels": ["sport", "nope"]}', 422, "labels[1]"),
    "too many texts": (json.dumps({"texts": ["a"] * 1025}).encode(), 422, "texts"),
    "too long a text": (json.dumps({"texts": ["a", "b" * 100_001]}).encode(), 422, "texts[1]"),
    "too large a body": (b" " * 8_000_001, 413, None),
}


@pytest.mark.parametrize(("body", "status", "field"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_names_field_and_reason(service: TestClient, body: bytes, status: int, field: str | None) -> None:
    answer = service.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = strict(answer)
    assert (problem["status"], problem["field"]) == (status, field)
    assert problem["detail"]


@pytest.mark.parametrize("body", [{"text": "a"}, {"inputs": ["a"]}, {"instances": ["a"]}, [], "a", {}])
def test_a_client_of_another_service_is_told_which_field_is_wanted(service: TestClient, body: Any) -> None:
    answer = service.post("/predict", json=body)
    assert answer.status_code == 422
    assert "wanted is an object of 'texts' and, where wanted, 'top_k'" in answer.json()["detail"]
    assert "wanted is an object of 'text' and" in service.post("/explain", json={"texts": []}).json()["detail"]


def test_a_body_that_announces_no_length_is_bounded_too(service: TestClient) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * 65536

    answer = service.post("/predict", content=endless(), headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_other_media_types_methods_and_paths_are_refused(service: TestClient) -> None:
    plain = service.post("/predict", content=b"{}", headers={"content-type": "text/plain"})
    assert (plain.status_code, strict(plain)["field"]) == (415, "Content-Type")
    wrong = service.get("/predict")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert service.post("/").status_code == 405
    assert service.delete("/readyz").status_code == 405
    assert service.get("/nothing/here").status_code == 404
    assert service.get("/../service.py").status_code == 404


def test_every_answer_carries_a_request_id(service: TestClient) -> None:
    ids = {service.get(path).headers["x-request-id"] for path in ("/model", "/nothing", "/", "/metrics")}
    assert len(ids) == 4


def test_head_gives_the_headers_alone(service: TestClient) -> None:
    answer = service.head("/model")
    assert answer.status_code == 200
    assert answer.content == b""
    assert int(answer.headers["content-length"]) > 0


def test_explanations_name_the_words_that_matter(service: TestClient) -> None:
    answer = strict(service.post("/explain", json={"text": "goal and bread", "label": "food"}))
    weights = {part["text"]: part["weight"] for part in answer["attributions"]}
    assert weights["bread"] > 0 > weights["goal"]
    assert answer["label"] == "food"
    assert 0 < answer["score"] < 1
    explained = strict(service.post("/predict", json={"texts": ["goal", "oven"], "explain": True}))["predictions"]
    assert [prediction["attributions"][0]["text"] for prediction in explained] == ["goal", "oven"]


def test_what_cannot_be_explained_is_refused(service: TestClient) -> None:
    assert service.post("/explain", json={"text": "goal", "label": "nope"}).json()["field"] == "label"
    assert service.post("/predict", json={"texts": ["a"] * 17, "explain": True}).json()["field"] == "texts"


def test_feedback_is_on_the_disk_when_it_is_answered(service: TestClient, records: Path) -> None:
    given = {"id": "some-prediction", "text": "goal", "label": "food"}
    answer = service.post("/feedback", json=given)
    assert answer.json() == {"id": "some-prediction", "stored": True}
    (file,) = records.glob("feedback-*.jsonl")
    stored = json.loads(file.read_text().splitlines()[-1])
    assert {name: stored[name] for name in given} == given
    assert (stored["version"], stored["client"]) == ("v1", "testclient")


def test_feedback_of_an_unknown_label_or_without_a_folder_is_refused(service: TestClient, folder: Path) -> None:
    given = {"id": "x", "text": "goal", "label": "nope"}
    assert service.post("/feedback", json=given).json()["field"] == "label"
    with client(folder) as without:
        answer = without.post("/feedback", json=given | {"label": "food"})
    assert answer.status_code == 403
    assert "switched off" in answer.json()["detail"]


def test_predictions_are_recorded_without_their_text_unless_it_is_asked_for(folder: Path, tmp_path: Path) -> None:
    for store in (False, True):
        with client(folder, records=str(tmp_path / str(store)), prediction_share=1.0, store_texts=store) as service:
            prediction = service.post("/predict", json={"texts": ["goal match"]}).json()["predictions"][0]
        (file,) = (tmp_path / str(store)).glob("predictions-*.jsonl")
        record = json.loads(file.read_text())
        assert (record["id"], record["label"], record["words"]) == (prediction["id"], "sport", 2)
        assert record["text"] == ("goal match" if store else None)


def test_the_model_card_names_what_serves(service: TestClient, folder: Path) -> None:
    card = service.get("/model").json()
    assert card["labels"] == list(WORDS)
    assert card["provider"] == "CPUExecutionProvider"
    assert card["metrics"]["accuracy"]["value"] == 1.0
    assert card["lineage"]["model"] == "v1"


def test_metrics_count_every_request(folder: Path) -> None:
    with client(folder) as service:
        for _ in range(5):
            service.post("/predict", json={"texts": ["a", "b"]})
        service.post("/predict", json={})
        text = service.get("/metrics").text
    assert 'model_service_requests_total{route="/predict",status="200"} 5' in text
    assert 'model_service_requests_total{route="/predict",status="422"} 1' in text
    assert 'provider="CPUExecutionProvider"' in text


def test_pages_and_descriptions_are_served_with_their_types(service: TestClient) -> None:
    kinds = {"/": "text/html", "/docs": "text/html", "/openapi.json": "application/json", "/api.js": "text/javascript"}
    for path, kind in kinds.items():
        answer = service.get(path)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(kind)
        again = service.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_a_draining_service_answers_closes_and_is_not_ready(folder: Path) -> None:
    application = Application(SERVICE, folder, Settings())
    with TestClient(application) as service:
        assert service.get("/readyz").status_code == 200
        application.drain()
        answer = service.post("/predict", json={"texts": ["goal"]})
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert service.get("/readyz").status_code == 503
        assert service.get("/livez").status_code == 200


def test_before_the_model_is_loaded_the_service_lives_and_is_not_ready(folder: Path) -> None:
    service = TestClient(Application(SERVICE, folder, Settings()))  # without its lifespan
    assert service.get("/livez").status_code == 200
    assert service.get("/readyz").status_code == 503
    assert service.post("/predict", json={"texts": ["goal"]}).status_code == 503


def _broken(folder: Path, change: str) -> Path:
    if change == "scores":
        graph = onnx.load(str(folder / GRAPH))
        bias = next(entry for entry in graph.graph.initializer if entry.name == "bias")
        bias.CopyFrom(numpy_helper.from_array(np.full(3, np.nan, np.float32), "bias"))
        onnx.save_model(graph, str(folder / GRAPH))
    elif change == "truncated":
        content = (folder / GRAPH).read_bytes()
        (folder / GRAPH).write_bytes(content[: len(content) // 2])
    else:
        (folder / change).unlink()
    return folder


@pytest.mark.parametrize("change", ["scores", "truncated", "model.json", "grams.npz"])
def test_a_broken_model_never_becomes_ready(tmp_path: Path, change: str) -> None:
    application = Application(SERVICE, _broken(grams_folder(tmp_path), change), Settings())
    with pytest.raises(Exception, match=r"finite|cannot be"), TestClient(application):
        pass
    assert not application.ready


def test_cuda_asked_for_and_missing_is_an_error_in_strict_mode_and_a_warning_otherwise(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ModelError, match="CUDA was asked for, but CPUExecutionProvider is in use"):
        open_model(folder, Settings(gpu=1, strict_gpu=True), 1)
    open_model(folder, Settings(gpu=1), 1)
    assert "CUDA was asked for" in caplog.text


def test_a_guard_authorises_opens_and_seals(folder: Path) -> None:
    class Somebody:
        decimals = None

        def check_size(self, size: int) -> None:
            pass

        def spend(self, cost: Cost) -> None:
            spent.append(cost.texts)

    class Reversed:
        def __init__(self) -> None:
            self.routes: list[Route[Any, None]] = []

        def authorise(self, request: Request, scope: ApiScope | None, of_lines: bool) -> None:
            if scope is not None and request.header(b"authorization") != b"Bearer right":
                raise Problem(401, "a key is needed", headers=((b"www-authenticate", b"Bearer"),))
            request.caller = Somebody()

        def open(self, request: Request, body: bytes) -> bytes:
            return body[::-1]

        def seal(self, request: Request, response: Response) -> Response:
            if request.caller is None:
                return response
            return Response(response.status, response.body[::-1], response.headers)

    spent: list[int] = []
    with TestClient(Application(SERVICE, folder, Settings(), guard=Reversed())) as service:
        assert service.post("/predict", json={"texts": []}).status_code == 401
        assert service.get("/").status_code == 401
        assert service.get("/readyz").status_code == 200
        body = json.dumps({"texts": ["goal"]}).encode()[::-1]
        key = {"authorization": "Bearer right", "content-type": "application/json"}
        answer = service.post("/predict", content=body, headers=key)
        assert json.loads(answer.content[::-1])["predictions"][0]["label"] == "sport"
        assert spent == [1]


def test_settings_with_an_unknown_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "service.json"
    assert load_settings(file, Settings) == Settings()
    file.write_text('{"max_texts": 7}')
    assert load_settings(file, Settings).max_texts == 7
    monkeypatch.setenv("MODEL_SERVICE_RECORDS", "/elsewhere")
    assert load_settings(file, Settings).records == "/elsewhere"
    file.write_text('{"max_text": 7}')
    with pytest.raises(SettingsError, match="max_text"):
        load_settings(file, Settings)
