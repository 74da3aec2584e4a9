"""What tells of a serving process, whatever it serves."""

from collections.abc import Callable
from typing import Any

from bentos.serving.http.asgi import Request, Response
from bentos.serving.http.problems import Problem, not_loaded
from bentos.serving.http.route import PLAIN, Route

PROBES = {
    "/livez": ("livez", "Whether the process lives", False),
    "/healthz": ("healthz", "The same, for BentoML's clients", False),
    "/readyz": ("readyz", "Whether a real prediction was made", True),
    "/v2/health/live": ("v2_live", "Open Inference Protocol: liveness", False),
    "/v2/health/ready": ("v2_ready", "Open Inference Protocol: readiness", True),
}
"""Paths that are answered whatever is served: the route's name and summary, and whether it asks for readiness."""


def probes(is_ready: Callable[[], bool], is_draining: Callable[[], bool]) -> list[Route[Any, None]]:
    """The routes that tell of this process."""

    async def live(service: object, request: Request, body: None) -> Response:
        return Response(200, b"\n", [(b"content-type", b"text/plain; charset=utf-8")])

    async def ready(service: object, request: Request, body: None) -> Response:
        if is_ready():
            return await live(service, request, body)
        raise Problem(503, "not ready to take new connections") if is_draining() else not_loaded()

    return [
        Route(
            "GET",
            path,
            name,
            summary,
            ready if asks_ready else live,
            scope=None,
            media_type=PLAIN,
            problems=(503,) if asks_ready else (),
            early=True,
        )
        for path, (name, summary, asks_ready) in PROBES.items()
    ]
