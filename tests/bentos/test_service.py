"""The service behind `bentoml serve`, and what it relies on in BentoML."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bentoml
import httpx
import pytest

from tests.bentos.model_folder import grams_folder
from tests.bentos.serving import ROOT, bentoml_served


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = grams_folder(tmp_path_factory.mktemp("grams"))
    with bentoml_served(folder, tmp_path_factory.mktemp("bentoml")) as (served, _):
        yield served


def test_the_official_client_works_on_bentoml_serve(url: str) -> None:
    with bentoml.SyncHTTPClient(url) as client:
        assert client.is_ready()
        answer = client.predict(texts=["goal", "bread"], top_k=2)
        assert [prediction["label"] for prediction in answer["predictions"]] == ["sport", "food"]
        assert client.explain(text="goal")["attributions"][0]["text"] == "goal"
        assert client.feedback(id="x", text="goal", label="food") == {"id": "x", "stored": True}


def test_the_application_answers_before_bentomls_own_stack(url: str) -> None:
    for path in ("/", "/docs", "/metrics", "/model", "/readyz", "/openapi.json"):
        # Every answer of the application has this header, and none of BentoML's has.
        assert "x-request-id" in httpx.get(f"{url}{path}").headers, path


def test_bentoml_answers_what_the_application_does_not_serve(url: str) -> None:
    answer = httpx.get(f"{url}/static_content/index.css")
    assert "x-request-id" not in answer.headers


def test_it_listens_on_loopback_alone(url: str) -> None:
    port = int(url.rsplit(":", 1)[1])
    addresses = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [address for address in addresses if address.endswith(f":{port:04X}")]
    assert listening
    assert all(address.startswith("0100007F:") for address in listening)


def test_what_slows_bentoml_down_is_switched_off() -> None:
    code = (
        "from starlette.testclient import TestClient\n"
        "from bentos.text_classifier import service\n"
        "starlette = service.TextClassifier.to_asgi(is_main=True)\n"
        "with TestClient(starlette) as client:\n"
        "    assert type(starlette.middleware_stack) is service.Front\n"
        "    assert client.post('/predict', json={'texts': ['goal']}).json()['predictions'][0]['label'] == 'sport'\n"
        "print(service.TextClassifier.config['metrics'], service.TextClassifier.config['tracing'])\n"
    )
    folder = grams_folder(Path(os.environ["BENTOML_HOME"]) / "model-of-test-service")
    environment = os.environ | {"TEXT_CLASSIFIER_MODEL": str(folder)}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "{'enabled': False} {'excluded_urls': '.*'}"
