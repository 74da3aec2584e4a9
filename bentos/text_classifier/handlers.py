"""What each route does."""

import time
from typing import cast

import msgspec

from bentos.serving.http.asgi import JSON_TYPE, Headers, Request, Response
from bentos.serving.http.problems import Problem
from bentos.serving.http.wire import encode
from bentos.serving.records.records import RecordsFull
from bentos.text_classifier.bodies import (
    ExplainAnswer,
    ExplainBody,
    ExplainedPrediction,
    FeedbackAnswer,
    FeedbackBody,
    ModelCard,
    PredictAnswer,
    PredictBody,
)
from bentos.text_classifier.costs import options_of
from bentos.text_classifier.feedback import FeedbackRecord
from bentos.text_classifier.runtime import Runtime

_JSON: Headers = [JSON_TYPE]


async def predict(runtime: Runtime, request: Request, asked: PredictBody) -> Response:
    predictions = await runtime.predict(request, asked.texts, options_of(runtime, asked))
    # Encoded alike; the type's further field is left out where it is not set.
    answered = cast(list[ExplainedPrediction], predictions)
    if asked.explain:
        answered = []
        for text, prediction in zip(asked.texts, predictions, strict=True):
            attributions = await runtime.explain(request, text, prediction.label)
            answered.append(ExplainedPrediction(**msgspec.structs.asdict(prediction), attributions=attributions))
    return Response(200, encode(PredictAnswer(answered, runtime.identity)), _JSON)


async def explain(runtime: Runtime, request: Request, asked: ExplainBody) -> Response:
    prediction = (await runtime.predict(request, [asked.text], runtime.defaults))[0]
    label = asked.label or prediction.label or runtime.model.manifest.labels[0]
    attributions = await runtime.explain(request, asked.text, label, asked.budget)
    score = await runtime.score(request, asked.text, label)
    return Response(200, encode(ExplainAnswer(request.id, label, score, attributions, runtime.identity)), _JSON)


async def feedback(runtime: Runtime, request: Request, asked: FeedbackBody) -> Response:
    if not runtime.model.decoder.about_texts:
        raise Problem(403, "this model tags parts of a text: there is no one label that feedback could put right")
    labels = [asked.label] if isinstance(asked.label, str) else asked.label
    if unknown := [label for label in labels if label not in runtime.known]:
        raise Problem(422, f"{unknown[0]!r} is not one of the model's labels; GET /model lists them", "label")
    if runtime.feedback is None:
        raise Problem(403, "feedback is switched off: no folder for records is set")
    text = await runtime.recorder.redacted(asked.text)
    if text is None:
        raise Problem(422, "the text holds personal data, which is not stored here: take it out", "text")
    record = FeedbackRecord(
        time.time(), asked.id, text, asked.label, runtime.identity.version, runtime.recorder.client_name(request)
    )
    try:
        await runtime.feedback.store(record)
    except RecordsFull as error:
        raise Problem(507, "feedback cannot be stored: no room is left for it") from error
    runtime.recorder.counters.feedback()
    return Response(200, encode(FeedbackAnswer(asked.id, True)), _JSON)


async def model(runtime: Runtime, request: Request, body: None) -> Response:
    return Response(200, encode(describe(runtime)), _JSON)


def describe(runtime: Runtime) -> ModelCard:
    """The model card of what is served."""
    manifest, settings = runtime.model.manifest, runtime.settings
    scope = manifest.scope
    return ModelCard(
        bento=runtime.identity.bento,
        name=manifest.name,
        version=manifest.version,
        task=manifest.task,
        answer=runtime.model.decoder.answer,
        architecture=manifest.architecture,
        labels=runtime.model.classes,
        thresholds=manifest.thresholds,
        metrics=manifest.metrics,
        scope=scope and {"method": scope.method, "false_alarm_rate": scope.false_alarm_rate},
        lineage=manifest.lineage,
        provider=runtime.provider,
        limits={
            "texts": settings.max_texts,
            "text_characters": settings.max_text_characters,
            "body_bytes": int(settings.max_body_mb * 1e6),
            "explained_texts": settings.max_explained,
            "answer_bytes": int(settings.max_answer_mb * 1e6),
        },
        card=runtime.model.card,
    )
