"""The OpenAPI document, drawn from the routes and the types that they read and write."""

from collections.abc import Sequence
from typing import Any

import msgspec

from bentos.serving.http.problems import ProblemDetails
from bentos.serving.http.route import NDJSON, Route

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

Routes = Sequence[Route[Any, Any]]


def document(routes: Routes, model: str, version: str, about: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the service of `model`."""
    answers = [one.answer for one in routes if one.answer is not None and one.answer is not dict]
    answers += [further for one in routes for further in one.also] + [ProblemDetails]
    types = [one.body for one in routes if one.body] + answers
    _, schemas = msgspec.json.schema_components(types, ref_template=_REF)
    for schema in schemas.values():
        for field in schema["properties"].values():
            # Generators of clients take a field with a default for one that must be given.
            field.pop("default", None)
    for kind in answers:
        fields = msgspec.structs.fields(kind)
        schemas[kind.__name__]["required"] = [one.name for one in fields if one.default is not msgspec.UNSET]
    paths: dict[str, dict[str, Any]] = {}
    for one in routes:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {"title": model, "version": version or "0", "description": about},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(one: Route[Any, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": one.name, "summary": one.summary}
    if one.description:
        described["description"] = one.description
    if one.query is not None:
        described["parameters"] = _parameters(one.query)
    if one.body is not None:
        # A stream of no lines is a stream, too.
        needed = not one.of_lines
        content = {one.media_type: {"schema": _schema(one.body, one.media_type)}}
        described["requestBody"] = {"required": needed, "content": content}
    described["responses"] = {"200": {"description": "OK", "content": {one.media_type: {"schema": _answer(one)}}}}
    for status in sorted(one.problems):
        problem = {"application/problem+json": {"schema": {"$ref": _REF.format(name="ProblemDetails")}}}
        described["responses"][str(status)] = {"description": _PROBLEMS[status], "content": problem}
    if 429 in one.problems:
        seconds = {"description": "seconds", "schema": {"type": "integer"}}
        described["responses"]["429"]["headers"] = {"Retry-After": seconds}
    return described


def _answer(one: Route[Any, Any]) -> dict[str, Any]:
    if one.answer is dict:
        return {"type": "object"}
    return {"type": "string"} if one.answer is None else _schema(one.answer, one.media_type)


def _schema(kind: type, media_type: str) -> dict[str, Any]:
    # A body of many JSON values has no schema of its own; its description names the type of a line.
    if media_type == NDJSON:
        return {"description": f"Lines of {kind.__name__}."}
    return {"$ref": _REF.format(name=kind.__name__)}


def _parameters(kind: type) -> list[dict[str, Any]]:
    schema = msgspec.json.schema(kind)
    (query,) = schema["$defs"].values()
    return [
        {"name": name, "in": "query", "required": False, "schema": described}
        for name, described in query["properties"].items()
    ]


def bentoml_schema(routes: Routes, model: str) -> dict[str, Any]:
    """`/schema.json` as BentoML's clients read it, for workers without BentoML."""
    described = [
        {
            "name": one.name,
            "route": one.path,
            "doc": one.summary,
            "batchable": False,
            "is_task": False,
            "input": msgspec.json.schema(one.body)["$defs"][one.body.__name__],
            "output": {"type": "object", "additionalProperties": True},
        }
        for one in routes
        if one.rpc and one.body is not None
    ]
    return {"name": model, "type": "service", "routes": described}
