"""The service behind `bentoml serve`, and what it relies on in BentoML."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import bentoml
import httpx
import pytest

from tests.bentos.text_classifier.model_folder import grams_folder
from tests.bentos.text_classifier.servers import ROOT, bentoml_served


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


def test_no_spelling_of_a_path_leads_past_the_application(url: str) -> None:
    for path in ("/predict", "/predict%0A", "/predict/", "//predict", "/predict%00", "/PREDICT", "/explain%0A"):
        answer = httpx.post(f"{url}{path}", content=b"[")
        assert "x-request-id" in answer.headers, path
        assert answer.status_code in (404, 405, 422), path


def test_a_method_asks_as_everybody_does() -> None:
    code = (
        "import asyncio\n"
        "from bentos.serving.bentoml_front import Front\n"
        "from bentos.text_classifier import service\n"
        "from bentos.serving.http.problems import Problem\n"
        "predict = service.TextClassifier().predict\n"
        "try:\n"
        "    print(asyncio.run(predict(texts=['goal'], top_k=1))['predictions'][0]['label'])\n"
        "except Problem as problem:\n"
        "    print(problem.details.status)\n"
    )
    home = Path(os.environ["BENTOML_HOME"])
    environment = os.environ | {"MODEL_SERVICE_MODEL": str(grams_folder(home / "model-of-test-methods"))}
    keyed = environment | {"MODEL_SERVICE_API_KEYS": str(home / "no-keys.json")}
    for variables, said in ((environment, "sport"), (keyed, "401")):
        ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=variables, capture_output=True, text=True)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.splitlines()[-1] == said


def test_it_listens_on_loopback_alone(url: str) -> None:
    port = int(url.rsplit(":", 1)[1])
    addresses = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [address for address in addresses if address.endswith(f":{port:04X}")]
    assert listening
    assert all(address.startswith("0100007F:") for address in listening)


def test_what_slows_bentoml_down_is_switched_off() -> None:
    code = (
        "from starlette.testclient import TestClient\n"
        "from bentos.serving.bentoml_front import Front\n"
        "from bentos.text_classifier import service\n"
        "starlette = service.TextClassifier.to_asgi(is_main=True)\n"
        "with TestClient(starlette) as client:\n"
        "    assert type(starlette.middleware_stack) is Front\n"
        "    assert client.post('/predict', json={'texts': ['goal']}).json()['predictions'][0]['label'] == 'sport'\n"
        "print(service.TextClassifier.config['metrics'], service.TextClassifier.config['tracing'])\n"
    )
    folder = grams_folder(Path(os.environ["BENTOML_HOME"]) / "model-of-test-service")
    environment = os.environ | {"MODEL_SERVICE_MODEL": str(folder)}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "{'enabled': False} {'excluded_urls': '.*'}"
