"""The OpenAPI document, drawn from the types that requests and answers are read and written with."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from bentos.text_classifier import bodies, inference_protocol, streaming
from bentos.text_classifier.problems import ProblemDetails

_MOST_NAMED = 1000
_REF = "#/components/schemas/{name}"
_PROBLEMS = {
    400: "The body or the query string cannot be read.",
    403: "Refused.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "A field is missing or wrong; `field` names it.",
    429: "Too much waits; try again after the seconds in Retry-After.",
    500: "The service failed.",
    503: "The model is not loaded yet, or the service is about to end.",
    507: "No room is left for feedback.",
}
_EVERY_TEXT = (
    "Every text is answered, an empty or blank one too: it gets the scores of a text without known words and "
    "`in_scope` false. Lone surrogates count as U+FFFD. Predictions stand in the order of the texts."
)
_LINES = (
    "A line of the request is a text as a JSON string, or an object with `text`. A line of the answer is a "
    "prediction with its `line`, or `line` and `error`. Read while you write: the service holds a few hundred "
    "lines only."
)
_WITH_BODY = (400, 408, 413, 415, 422, 429, 500, 503)


class Operation(NamedTuple):
    """One route's documentation; `kind` is the answer's media type where `answer` has no type of its own."""

    method: str
    path: str
    name: str
    summary: str
    description: str = ""
    body: type | None = None
    answer: type | None = None
    kind: str = "application/json"
    problems: tuple[int, ...] = (500, 503)


def operations(model: str) -> list[Operation]:
    """Every documented route of the service of `model`."""
    return [
        Operation(
            "post",
            "/predict",
            "predict",
            "Label texts",
            _EVERY_TEXT,
            bodies.PredictBody,
            bodies.PredictAnswer,
            problems=_WITH_BODY,
        ),
        Operation(
            "post",
            "/predict/stream",
            "predict_stream",
            "Label any number of texts",
            _LINES,
            streaming.StreamLine,
            streaming.StreamedPrediction,
            "application/x-ndjson",
            (400, 422, 429, 500, 503),
        ),
        Operation(
            "post",
            "/explain",
            "explain",
            "What each word adds to a label's score",
            "Shapley values of the words, from the model's answers to parts of the text.",
            bodies.ExplainBody,
            bodies.ExplainAnswer,
            problems=_WITH_BODY,
        ),
        Operation(
            "post",
            "/feedback",
            "feedback",
            "Say what the right label is",
            "Stored on disk before the answer.",
            bodies.FeedbackBody,
            bodies.FeedbackAnswer,
            problems=(*_WITH_BODY, 403, 507),
        ),
        Operation("get", "/model", "model", "The model card", answer=bodies.ModelCard),
        Operation("get", "/livez", "livez", "Whether the process lives", kind="text/plain", problems=()),
        Operation("get", "/healthz", "healthz", "The same, for BentoML's clients", kind="text/plain", problems=()),
        Operation("get", "/readyz", "readyz", "Whether a real prediction was made", kind="text/plain", problems=(503,)),
        Operation(
            "get", "/metrics", "metrics", "Counters over all workers, in Prometheus' text format", kind="text/plain"
        ),
        Operation("get", "/v2", "v2_server", "Open Inference Protocol: the server", answer=dict),
        Operation(
            "get", "/v2/health/live", "v2_live", "Open Inference Protocol: liveness", kind="text/plain", problems=()
        ),
        Operation(
            "get",
            "/v2/health/ready",
            "v2_ready",
            "Open Inference Protocol: readiness",
            kind="text/plain",
            problems=(503,),
        ),
        Operation("get", f"/v2/models/{model}", "v2_model", "Open Inference Protocol: the model", answer=dict),
        Operation(
            "get",
            f"/v2/models/{model}/ready",
            "v2_model_ready",
            "Open Inference Protocol: readiness",
            kind="text/plain",
            problems=(503,),
        ),
        Operation(
            "post",
            f"/v2/models/{model}/infer",
            "v2_infer",
            "Open Inference Protocol: label texts",
            "",
            inference_protocol.InferBody,
            inference_protocol.InferAnswer,
            problems=_WITH_BODY,
        ),
    ]


def document(model: str, version: str, labels: Sequence[str], max_texts: int) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the service of `model`, which knows `labels`."""
    listed = operations(model)
    answers = [one.answer for one in listed if one.answer not in (None, dict)]
    answers += [streaming.StreamedRefusal, ProblemDetails]
    types = [one.body for one in listed if one.body] + answers
    _, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    for schema in schemas.values():
        for field in schema["properties"].values():
            # Generators of clients take a field with a default for one that must be given.
            field.pop("default", None)
    for kind in answers:
        fields = msgspec.structs.fields(kind)
        schemas[kind.__name__]["required"] = [one.name for one in fields if one.default is not msgspec.UNSET]
    schemas["PredictBody"]["properties"]["texts"]["maxItems"] = max_texts
    for name, field in (("PredictBody", "labels"), ("ExplainBody", "label"), ("FeedbackBody", "label")):
        _only(schemas[name]["properties"][field], labels)
    paths: dict[str, dict[str, Any]] = {}
    for one in listed:
        paths.setdefault(one.path, {})[one.method] = _operation(one)
    paths["/predict/stream"]["post"]["parameters"] = _stream_parameters()
    _only(paths["/predict/stream"]["post"]["parameters"][-1]["schema"], labels)
    return {
        "openapi": "3.1.0",
        "info": {"title": model, "version": version or "0", "description": "Labels texts."},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(one: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": one.name, "summary": one.summary}
    if one.description:
        described["description"] = one.description
    if one.body is not None:
        # A stream of no lines is a stream, too.
        needed = one.kind == "application/json"
        described["requestBody"] = {"required": needed, "content": {one.kind: {"schema": _schema(one.body, one.kind)}}}
    described["responses"] = {"200": {"description": "OK", "content": {one.kind: {"schema": _answer(one)}}}}
    for status in sorted(one.problems):
        problem = {"application/problem+json": {"schema": {"$ref": _REF.format(name="ProblemDetails")}}}
        described["responses"][str(status)] = {"description": _PROBLEMS[status], "content": problem}
    if 429 in one.problems:
        seconds = {"description": "seconds", "schema": {"type": "integer"}}
        described["responses"]["429"]["headers"] = {"Retry-After": seconds}
    return described


def _answer(one: Operation) -> dict[str, Any]:
    if one.answer is dict:
        return {"type": "object"}
    return {"type": "string"} if one.answer is None else _schema(one.answer, one.kind)


def _schema(kind: type, media_type: str) -> dict[str, Any]:
    # A body of many JSON values has no schema of its own; its description names the type of a line.
    if media_type == "application/x-ndjson":
        return {"description": f"Lines of {kind.__name__}."}
    return {"$ref": _REF.format(name=kind.__name__)}


def _stream_parameters() -> list[dict[str, Any]]:
    schema = msgspec.json.schema(streaming.StreamQuery)
    (query,) = schema["$defs"].values()
    return [
        {"name": name, "in": "query", "required": False, "schema": described}
        for name, described in query["properties"].items()
    ]


def _only(described: dict[str, Any], labels: Sequence[str]) -> None:
    """Says of every string in the schema that it is one of the labels."""
    if len(labels) > _MOST_NAMED:
        return
    if described.get("type") == "string":
        described["enum"] = list(labels)
        described.pop("maxLength", None)
    for inner in [*described.get("anyOf", []), *([described["items"]] if "items" in described else [])]:
        _only(inner, labels)


def bentoml_schema(model: str) -> dict[str, Any]:
    """`/schema.json` as BentoML's clients read it, for workers without BentoML."""
    routes = []
    for one in operations(model):
        if one.body is not None and one.name in ("predict", "explain", "feedback"):
            schema = msgspec.json.schema(one.body)
            described = schema["$defs"][one.body.__name__]
            routes.append(
                {
                    "name": one.name,
                    "route": one.path,
                    "doc": one.summary,
                    "batchable": False,
                    "is_task": False,
                    "input": described,
                    "output": {"type": "object", "additionalProperties": True},
                }
            )
    return {"name": model, "type": "service", "routes": routes}
