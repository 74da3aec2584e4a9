"""A route of a service, declared once: who may ask, what is read, what it costs, who answers.

The application's dispatch, the guard, the OpenAPI document and BentoML's methods are drawn from these declarations.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import msgspec

from bentos.serving.guard.api_keys import ApiScope
from bentos.serving.http.asgi import (
    Cost,
    Request,
    Response,
    Stream,
)

JSON = "application/json"
NDJSON = "application/x-ndjson"
PLAIN = "text/plain"

Service = TypeVar("Service")
Body = TypeVar("Body")

Handler = Callable[[Service, Request, Body], Awaitable[Response | Stream]]
"""What answers: given what is served, the request, and its body as it was decoded (None where none is read)."""


FREE = Cost()


@dataclass(frozen=True, slots=True)
class Route(Generic[Service, Body]):
    """One method at one path.

    Args:
        handler: given a decoded body whose cost was accepted. Scores that it answers with are rounded to
            `Request.decimals`.
        scope: what a key must be for; everybody may ask when None.
        body: the type that the body is decoded as, once. For a route of lines it describes a line, and the handler
            decodes and spends line by line.
        cost: refuses what is not answered with a `problems.Problem`, and counts the rest.
        query: the type of the query string, described in the OpenAPI document; the handler reads it.
        answer: described in the OpenAPI document; no JSON of one type when None or dict.
        also: further types that stand in answers.
        media_type: of the answer, and of the body where there is one.
        problems: statuses of refusals.
        early: answered before the model is loaded; the handler is then given None for what is served.
        rpc: also a method for BentoML's clients, whose arguments are the body's fields.
    """

    method: str
    path: str
    name: str
    summary: str
    handler: Handler[Service, Body]
    description: str = ""
    scope: ApiScope | None = "predict"
    body: type[Body] | None = None
    cost: Callable[[Service, Body], Cost] = lambda service, body: FREE
    query: type | None = None
    answer: type | None = None
    also: tuple[type, ...] = ()
    media_type: str = JSON
    problems: tuple[int, ...] = (500, 503)
    early: bool = False
    rpc: bool = False
    decoder: "msgspec.json.Decoder[Body] | None" = field(init=False)
    """Of the whole body; None where none is read as a whole."""

    def __post_init__(self) -> None:
        whole = self.body is not None and self.media_type == JSON
        decoder: Any = msgspec.json.Decoder(self.body) if whole else None
        object.__setattr__(self, "decoder", decoder)

    @property
    def of_lines(self) -> bool:
        """Whether body and answer are lines without an end."""
        return self.media_type == NDJSON


def by_path(routes: Sequence[Route[Any, Any]]) -> dict[str, dict[str, Route[Any, Any]]]:
    """Path to method to route."""
    found: dict[str, dict[str, Route[Any, Any]]] = {}
    for route in routes:
        found.setdefault(route.path, {})[route.method] = route
    return found
