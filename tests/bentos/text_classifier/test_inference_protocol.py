import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.bentos.text_classifier.model_folder import grams_folder
from tests.bentos.text_classifier.servers import client

MODEL = "/v2/models/text_classifier"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with client(grams_folder(tmp_path_factory.mktemp("grams"))) as started:
        yield started


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "text", "shape": [2], "datatype": "BYTES", "data": ["goal", "bread"]} | changes


def test_texts_are_answered_as_tensors(service: TestClient) -> None:
    answer = service.post(f"{MODEL}/infer", json={"id": "mine", "inputs": [tensor()]}).json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("text_classifier", "v1", "mine")
    label, score, prediction = answer["outputs"]
    assert label == {"name": "label", "datatype": "BYTES", "shape": [2], "data": ["sport", "food"]}
    assert (score["name"], score["datatype"]) == ("score", "FP32")
    assert [json.loads(text)["score"] for text in prediction["data"]] == score["data"]


def test_only_the_outputs_that_are_asked_for_are_given(service: TestClient) -> None:
    answer = service.post(f"{MODEL}/infer", json={"inputs": [tensor()], "outputs": [{"name": "score"}]}).json()
    assert [output["name"] for output in answer["outputs"]] == ["score"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"shape": [3]}, "inputs[0].shape"),
        ({"datatype": "FP32"}, "inputs[0].datatype"),
        ({"data": [1]}, "inputs[0].data[0]"),
    ],
)
def test_wrong_tensors_are_refused_by_name(service: TestClient, change: dict[str, Any], field: str) -> None:
    answer = service.post(f"{MODEL}/infer", json={"inputs": [tensor(**change)]})
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_server_and_model_describe_themselves(service: TestClient) -> None:
    assert service.get("/v2").json()["name"] == "text_classifier"
    assert service.get(MODEL).json()["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    for path in ("/v2/health/live", "/v2/health/ready", f"{MODEL}/ready"):
        assert service.get(path).status_code == 200
    assert service.get("/v2/models/another").status_code == 404
