"""A text classifier as the serving core sees it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bentos.serving.http.route import Route
from bentos.serving.records.recorder import Recorder
from bentos.text_classifier.predictor import open_model
from bentos.text_classifier.routes import routes
from bentos.text_classifier.runtime import Runtime
from bentos.text_classifier.settings import Settings


class TextClassifier:
    """See `serving.service.Service`."""

    kind = "text_classifier"
    about = "Labels texts."
    web = Path(__file__).parent / "web"

    def routes(self, model: str) -> Sequence[Route[Any, Any]]:
        return routes(model)

    def open(self, folder: Path, settings: Settings, *, threads: int, bento: str | None, recorder: Recorder) -> Runtime:
        return Runtime(open_model(folder, settings, threads), settings, recorder, bento)


SERVICE = TextClassifier()
