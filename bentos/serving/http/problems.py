"""What a client is told when a request is refused: RFC 9457 problem details with a field and a reason."""

import math
from collections.abc import Collection
from http import HTTPStatus

import msgspec

from bentos.serving.http.asgi import (
    Response,
)

PROBLEM_TYPE = b"application/problem+json"


class ProblemDetails(msgspec.Struct, frozen=True):
    """`title` is the status in words, `detail` the reason, `field` the place in the request, as in `texts[3]`."""

    title: str
    status: int
    detail: str
    field: str | None = None
    type: str = "about:blank"


class Problem(Exception):
    """A request that is refused."""

    def __init__(
        self, status: int, detail: str, field: str | None = None, headers: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        super().__init__(detail)
        self.details = ProblemDetails(HTTPStatus(status).phrase, status, detail, field)
        self.headers = headers

    def response(self) -> Response:
        headers = [(b"content-type", PROBLEM_TYPE), *self.headers]
        return Response(self.details.status, msgspec.json.encode(self.details), headers)


def busy(retry_after: float) -> Problem:
    """429: more waits than can be answered in time; `retry_after` in seconds."""
    seconds = max(1, round(retry_after))
    detail = f"the service is busy; try again in {seconds} s"
    return Problem(429, detail, headers=((b"retry-after", str(seconds).encode()),))


LIMITED = b"x-limited"
"""Header of a 429 that says nothing of how fast the service is: `key` or `bytes` is used up."""


def limited(detail: str, by: bytes, retry_after: float) -> Problem:
    """429: a limit that is not the model's is reached; `retry_after` in seconds."""
    seconds = max(1, math.ceil(retry_after))
    return Problem(429, detail, headers=((b"retry-after", b"%d" % seconds), (LIMITED, by)))


def not_loaded() -> Problem:
    return Problem(503, "the model is not loaded yet")


def wrong_method(allowed: Collection[str]) -> Problem:
    names = ", ".join([*allowed, "HEAD"] if "GET" in allowed else allowed)
    return Problem(405, f"use {names} here", headers=((b"allow", names.encode()),))
