"""The description of the API holds: against the routes, against random requests, against a generated client."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bentos.serving.http.openapi import bentoml_schema, document
from bentos.text_classifier.narrowing import narrow
from bentos.text_classifier.routes import routes
from tests.bentos.text_classifier.model_folder import WORDS, grams_folder
from tests.bentos.text_classifier.servers import Process, fuzzed, worker

MODEL = "text_classifier"


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = grams_folder(tmp_path_factory.mktemp("grams") / "model")
    (folder.parent / "service.json").write_text(json.dumps({"records": str(folder.parent / "records")}))
    with worker(folder, tmp_path_factory.mktemp("logs")) as process:
        yield process


def test_the_description_is_drawn_from_the_routes(serving: Process) -> None:
    described = httpx.get(f"{serving.url}/openapi.json", trust_env=False).json()["paths"]
    assert {(path, method.upper()) for path, methods in described.items() for method in methods} == {
        (route.path, route.method) for route in routes(MODEL)
    } | {(path, "GET") for path in ("/metrics", "/livez", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")}
    methods = {one["name"] for one in bentoml_schema(routes(MODEL), MODEL)["routes"]}
    assert methods == {"predict", "explain", "feedback"}


def test_the_description_names_the_models_labels() -> None:
    described = document(routes(MODEL), MODEL, "v1", "Labels texts.")
    narrow(described, list(WORDS), 1024)
    schemas = described["components"]["schemas"]
    assert schemas["PredictBody"]["properties"]["labels"]["anyOf"][0]["items"]["enum"] == list(WORDS)
    assert schemas["PredictBody"]["properties"]["texts"]["maxItems"] == 1024


@pytest.mark.slow
def test_random_requests_get_described_answers_and_no_5xx(serving: Process, tmp_path: Path) -> None:
    # Some rules stand in no schema: as many texts as the shape says, 1.0 for 1.
    without = ("--exclude-checks", "positive_data_acceptance")
    ran = fuzzed(f"{serving.url}/openapi.json", tmp_path, *without, "--max-examples", "25", "--max-time", "25")
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr
    assert serving.process.poll() is None
    assert "failed" not in serving.log.read_text()


CLIENT = """
import createClient from "openapi-fetch";
import type { paths } from "./api";

const client = createClient<paths>({ baseUrl: process.argv[2] });

async function main(): Promise<void> {
  const { data, error } = await client.POST("/predict", { body: { texts: ["goal", "bread"], top_k: 2 } });
  if (error) throw new Error(error.detail);
  const labels: string[] = data.predictions.map((prediction) => prediction.labels?.[0].label ?? "");
  const refused = await client.POST("/predict", { body: { texts: [], top_k: 0 } });
  console.log(JSON.stringify({ labels, version: data.model.version, field: refused.error?.field }));
}

main();
"""


@pytest.mark.npm
@pytest.mark.slow
def test_a_generated_typescript_client_compiles_and_works(serving: Process, tmp_path: Path) -> None:
    def run(*command: str) -> str:
        ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=480, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    (tmp_path / "package.json").write_text('{"private": true, "type": "commonjs"}')
    (tmp_path / "client.ts").write_text(CLIENT)
    run("npm", "install", "--silent", "--no-audit", "--no-fund", "typescript@5.6.3", "openapi-typescript@7.4.4",
        "openapi-fetch@0.13.4", "@types/node@22.10.2")  # fmt: skip
    run("npx", "--no-install", "openapi-typescript", f"{serving.url}/openapi.json", "-o", "api.d.ts")
    run("npx", "--no-install", "tsc", "--strict", "--skipLibCheck", "--module", "commonjs", "--target", "es2022",
        "--esModuleInterop", "--types", "node", "--outDir", "out", "client.ts")  # fmt: skip
    assert json.loads(run("node", "out/client.js", serving.url)) == {
        "labels": ["sport", "food"],
        "version": "v1",
        "field": "top_k",
    }
