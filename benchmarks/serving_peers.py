"""The other servers of `serving.py`: the same model folder behind FastAPI and a plain BentoML API.

Each is what an engineer would write by hand for it: typed, asynchronous, without access log. Run as
`python benchmarks/serving_peers.py PORT` for FastAPI, `bentoml serve benchmarks.serving_peers:Plain`
for BentoML, with the model folder in MODEL_SERVICE_MODEL.
"""

import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bentos.text_classifier.decoding import Options
from bentos.text_classifier.model import TextModel

FOLDER = Path(os.environ["MODEL_SERVICE_MODEL"])


def answer(model: TextModel, texts: list[str], top_k: int) -> list[dict[str, Any]]:
    """What every peer answers: label, score and labels of each text."""
    return [
        {
            "label": prediction.label,
            "score": prediction.score,
            "labels": [{"label": entry.label, "score": entry.score} for entry in prediction.labels],
        }
        for prediction in model.predict(texts, Options(top_k=top_k))
    ]


def fastapi(port: int) -> None:
    import uvicorn
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Body(BaseModel):
        texts: list[str]
        top_k: int = 1

    class LabelScore(BaseModel):
        label: str
        score: float

    class Prediction(BaseModel):
        label: str
        score: float
        labels: list[LabelScore]

    class Answer(BaseModel):
        predictions: list[Prediction]

    model = TextModel.load(FOLDER)
    app = FastAPI()

    @app.get("/readyz")
    async def ready() -> bool:
        return True

    @app.post("/predict")
    async def predict(body: Body) -> Answer:
        return Answer(predictions=[Prediction(**entry) for entry in answer(model, body.texts, body.top_k)])

    uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_level="warning", access_log=False)


if __name__ == "__main__":
    fastapi(int(sys.argv[1]))
else:
    import bentoml

    @bentoml.service(name="plain", workers=1)
    class Plain:
        """The API that BentoML's documentation shows, made asynchronous."""

        def __init__(self) -> None:
            self.model = TextModel.load(FOLDER)

        @bentoml.api
        async def predict(self, texts: list[str], top_k: int = 1) -> dict[str, Any]:
            return {"predictions": answer(self.model, texts, top_k)}
