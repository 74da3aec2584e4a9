"""What each route does."""

import time
from collections.abc import Awaitable, Callable
from typing import cast

import msgspec

from bentos.text_classifier.asgi import JSON_TYPE, Headers, Request, Response, Stream
from bentos.text_classifier.bodies import (
    ExplainAnswer,
    ExplainBody,
    ExplainedPrediction,
    FeedbackAnswer,
    FeedbackBody,
    ModelCard,
    PredictAnswer,
    PredictBody,
    decode,
    encode,
)
from bentos.text_classifier.decoding import Options
from bentos.text_classifier.metrics import CONTENT_TYPE
from bentos.text_classifier.problems import Problem
from bentos.text_classifier.records import FeedbackRecord, RecordsFull
from bentos.text_classifier.runtime import Runtime

Handler = Callable[[Runtime, Request, bytes], Awaitable[Response | Stream]]

_JSON: Headers = [JSON_TYPE]
_PREDICT = msgspec.json.Decoder(PredictBody)
_EXPLAIN = msgspec.json.Decoder(ExplainBody)
_FEEDBACK = msgspec.json.Decoder(FeedbackBody)


async def predict(runtime: Runtime, request: Request, body: bytes) -> Response:
    return Response(200, encode(await answer_predict(runtime, request, decode(body, _PREDICT))), _JSON)


async def answer_predict(runtime: Runtime, request: Request, asked: PredictBody) -> PredictAnswer:
    options = options_of(runtime, asked)
    check_texts(runtime, asked.texts)
    if asked.explain and len(asked.texts) > runtime.settings.max_explained:
        raise Problem(422, f"at most {runtime.settings.max_explained} texts can be explained in a request", "texts")
    predictions = await runtime.predict(request, asked.texts, options)
    if not asked.explain:
        # Encoded alike; the type's further field is left out where it is not set.
        return PredictAnswer(cast(list[ExplainedPrediction], predictions), runtime.identity)
    explained = []
    for text, prediction in zip(asked.texts, predictions, strict=True):
        attributions = await runtime.explain(text, prediction.label, None)
        explained.append(ExplainedPrediction(**msgspec.structs.asdict(prediction), attributions=attributions))
    return PredictAnswer(explained, runtime.identity)


async def explain(runtime: Runtime, request: Request, body: bytes) -> Response:
    return Response(200, encode(await answer_explain(runtime, request, decode(body, _EXPLAIN))), _JSON)


async def answer_explain(runtime: Runtime, request: Request, asked: ExplainBody) -> ExplainAnswer:
    check_texts(runtime, [asked.text], "text")
    labels = runtime.model.manifest.labels
    if asked.label is not None and asked.label not in labels:
        raise Problem(422, "not one of the model's labels; GET /model lists them", "label")
    prediction = (await runtime.predict(request, [asked.text], runtime.defaults))[0]
    label = asked.label or prediction.label or labels[0]
    attributions = await runtime.explain(asked.text, label, asked.budget)
    score = runtime.score(asked.text, label)
    return ExplainAnswer(request.id, label, score, attributions, runtime.identity)


async def feedback(runtime: Runtime, request: Request, body: bytes) -> Response:
    return Response(200, encode(await answer_feedback(runtime, request, decode(body, _FEEDBACK))), _JSON)


async def answer_feedback(runtime: Runtime, request: Request, asked: FeedbackBody) -> FeedbackAnswer:
    if not runtime.model.decoder.about_texts:
        raise Problem(403, "this model tags parts of a text: there is no one label that feedback could put right")
    check_texts(runtime, [asked.text], "text")
    labels = [asked.label] if isinstance(asked.label, str) else asked.label
    known = runtime.model.manifest.labels
    if unknown := [label for label in labels if label not in known]:
        raise Problem(422, f"{unknown[0]!r} is not one of the model's labels; GET /model lists them", "label")
    if runtime.feedback is None:
        raise Problem(403, "feedback is switched off: no folder for records is set")
    text = runtime.redact(asked.text)
    if text is None:
        raise Problem(422, "the text holds personal data, which is not stored here: take it out", "text")
    record = FeedbackRecord(
        time.time(), asked.id, text, asked.label, runtime.identity.version, runtime.client_name(request)
    )
    try:
        await runtime.feedback.store(record)
    except RecordsFull as error:
        raise Problem(507, "feedback cannot be stored: no room is left for it") from error
    runtime.counters.feedback()
    return FeedbackAnswer(asked.id, True)


async def model(runtime: Runtime, request: Request, body: bytes) -> Response:
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
        },
        card=runtime.model.card,
    )


async def metrics(runtime: Runtime, request: Request, body: bytes) -> Response:
    writers = (runtime.feedback, runtime.predictions, runtime.access)
    gauges = {
        f'text_classifier_info{{bento="{runtime.identity.bento}",provider="{runtime.provider}"}}': 1.0,
        "text_classifier_waiting_requests": float(runtime.batcher.waiting),
        "text_classifier_records_dropped": float(sum(writer.dropped for writer in writers if writer)),
    }
    return Response(200, runtime.counters.expose(gauges), [(b"content-type", CONTENT_TYPE)])


def options_of(runtime: Runtime, asked: PredictBody) -> Options:
    """The request's options over the bento's defaults."""
    defaults = runtime.defaults
    if asked.top_k is None and asked.threshold is None and asked.labels is None:
        # The very object: requests with equal options are decoded together.
        return defaults
    if asked.labels is not None:
        known = set(runtime.model.classes)
        for index, label in enumerate(asked.labels):
            if label not in known:
                raise Problem(422, "not one of the model's labels; GET /model lists them", f"labels[{index}]")
    return Options(
        top_k=defaults.top_k if asked.top_k is None else asked.top_k,
        threshold=defaults.threshold if asked.threshold is None else asked.threshold,
        only=None if asked.labels is None else frozenset(asked.labels),
    )


def check_texts(runtime: Runtime, texts: list[str], field: str | None = None) -> None:
    """Refuses too many texts and too long ones with 422; `field` names a single text's field."""
    settings = runtime.settings
    if len(texts) > settings.max_texts:
        raise Problem(422, f"at most {settings.max_texts} texts a request; send the rest in another", "texts")
    for index, text in enumerate(texts):
        if len(text) > settings.max_text_characters:
            raise Problem(
                422,
                f"{len(text)} characters; at most {settings.max_text_characters} can be classified",
                field or f"texts[{index}]",
            )
