"""The model folder in MODEL_SERVICE_MODEL behind LitServe: `python benchmarks/serving_litserve.py PORT`."""

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import litserve  # pyright: ignore[reportMissingImports]  # installed by the benchmark into an environment of its own

from bentos.text_classifier.decoding import Options
from bentos.text_classifier.model import TextModel


class Api(litserve.LitAPI):
    """What LitServe's documentation shows, for this model."""

    def setup(self, device: str) -> None:
        self.model = TextModel.load(Path(os.environ["MODEL_SERVICE_MODEL"]))

    def decode_request(self, request: dict[str, Any]) -> tuple[list[str], int]:
        return request["texts"], request.get("top_k", 1)

    def predict(self, asked: tuple[list[str], int]) -> list[dict[str, Any]]:
        texts, top_k = asked
        return [
            {"label": one.label, "score": one.score, "labels": [[entry.label, entry.score] for entry in one.labels]}
            for one in self.model.predict(texts, Options(top_k=top_k))
        ]

    def encode_response(self, output: list[dict[str, Any]]) -> dict[str, Any]:
        return {"predictions": output}


if __name__ == "__main__":
    server = litserve.LitServer(Api(api_path="/predict"), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
