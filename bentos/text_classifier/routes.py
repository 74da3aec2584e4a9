"""The routes of a text classifier, in the order in which they are described."""

from typing import Any

from bentos.serving.http.route import NDJSON, PLAIN, Route
from bentos.text_classifier import bodies, costs, handlers, inference_protocol, streaming

_EVERY_TEXT = (
    "Every text is answered, an empty or blank one too: it gets the scores of a text without known words and "
    "`in_scope` false, as has a text that is worded unlike the training texts: its answer may still be right. "
    "Lone surrogates count as U+FFFD. Predictions stand in the order of the texts."
)
_LINES = (
    "A line of the request is a text as a JSON string, or an object with `text`. A line of the answer is a "
    "prediction with its `line`, or `line` and `error`. Read while you write: the service holds a few hundred "
    "lines only."
)
_WITH_BODY = (400, 408, 413, 415, 422, 429, 500, 503)


def routes(model: str) -> list[Route[Any, Any]]:
    """Every route of the service of the model called `model`, those of the application itself left out."""
    v2 = f"/v2/models/{model}"
    return [
        Route(
            "POST",
            "/predict",
            "predict",
            "Label texts",
            handlers.predict,
            _EVERY_TEXT,
            body=bodies.PredictBody,
            cost=costs.of_predict,
            answer=bodies.PredictAnswer,
            problems=_WITH_BODY,
            rpc=True,
        ),
        Route(
            "POST",
            "/predict/stream",
            "predict_stream",
            "Label any number of texts",
            streaming.stream,
            _LINES,
            body=streaming.StreamLine,
            query=streaming.StreamQuery,
            answer=streaming.StreamedPrediction,
            also=(streaming.StreamedRefusal,),
            media_type=NDJSON,
            problems=(400, 422, 429, 500, 503),
        ),
        Route(
            "POST",
            "/explain",
            "explain",
            "What each word adds to a label's score",
            handlers.explain,
            "Additive weights of the words (not Shapley values), from the model's answers to parts of the text.",
            scope="explain",
            body=bodies.ExplainBody,
            cost=costs.of_explain,
            answer=bodies.ExplainAnswer,
            problems=_WITH_BODY,
            rpc=True,
        ),
        Route(
            "POST",
            "/feedback",
            "feedback",
            "Say what the right label is",
            handlers.feedback,
            "Stored on disk before the answer.",
            scope="feedback",
            body=bodies.FeedbackBody,
            cost=costs.of_feedback,
            answer=bodies.FeedbackAnswer,
            problems=(*_WITH_BODY, 403, 507),
            rpc=True,
        ),
        Route("GET", "/model", "model", "The model card", handlers.model, answer=bodies.ModelCard),
        Route("GET", "/v2", "v2_server", "Open Inference Protocol: the server", inference_protocol.server, answer=dict),
        Route("GET", v2, "v2_model", "Open Inference Protocol: the model", inference_protocol.metadata, answer=dict),
        Route(
            "GET",
            f"{v2}/ready",
            "v2_model_ready",
            "Open Inference Protocol: readiness",
            inference_protocol.ready,
            media_type=PLAIN,
            problems=(503,),
        ),
        Route(
            "POST",
            f"{v2}/infer",
            "v2_infer",
            "Open Inference Protocol: label texts",
            inference_protocol.infer,
            body=inference_protocol.InferBody,
            cost=inference_protocol.cost,
            answer=inference_protocol.InferAnswer,
            problems=_WITH_BODY,
        ),
    ]
