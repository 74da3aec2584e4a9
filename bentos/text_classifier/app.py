"""The ASGI application: the same one behind `bentoml serve` and behind the supervised workers.

Routing, limits, problem details, counting and draining live here; what a route does is in
`handlers`. No framework stands between the server and the handlers, since with a small model the
framework is most of the cost.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bentos.text_classifier import handlers, inference_protocol, streaming
from bentos.text_classifier.asgi import (
    Disconnected,
    Headers,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    Stream,
    send_response,
    send_stream,
)
from bentos.text_classifier.guard import Guard
from bentos.text_classifier.handlers import Handler
from bentos.text_classifier.intake import Intake
from bentos.text_classifier.metrics import Counters
from bentos.text_classifier.predictor import open_model
from bentos.text_classifier.problems import Problem
from bentos.text_classifier.records import AccessRecord
from bentos.text_classifier.runtime import Runtime, request_ids
from bentos.text_classifier.settings import ServiceSettings
from bentos.text_classifier.site import Page, api_pages, pages

logger = logging.getLogger(__name__)

STATUSES = (200, 304, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503, 507)
PAGE = "page"
OTHER = "other"
_ALWAYS: Headers = [(b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY")]
_CLOSE: Headers = [(b"connection", b"close")]


class Route(NamedTuple):
    handler: Handler
    has_body: bool = False


class Application:
    """An ASGI application that serves one model folder.

    Args:
        folder: the model folder.
        threads: ONNX Runtime threads.
        bento: the tag that answers name; the manifest's name and version when None.
        counters_folder: where the counters of several workers meet; in memory when None.
        guard: who may ask, and how bodies are opened; everybody and as they are when None.
    """

    def __init__(
        self,
        folder: Path,
        settings: ServiceSettings,
        *,
        threads: int = 1,
        bento: str | None = None,
        counters_folder: Path | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.threads = threads
        self.bento = bento
        self.counters_folder = counters_folder
        self.guard = guard
        self.runtime: Runtime | None = None
        self.ready = False
        self._headers: Headers = list(_ALWAYS)
        self._draining = False
        self._intake = Intake(
            int(settings.max_body_mb * 1e6), int(settings.max_pending_mb * 1e6), settings.max_body_seconds
        )
        self.next_id: Callable[[], str] = request_ids()
        self._pages: dict[str, Page] = {}
        self._routes: dict[str, dict[str, Route]] = {}

    async def start(self) -> None:
        """Opens the model and makes real predictions with it; only then the service is ready.

        Raises:
            ModelError: the model folder cannot be served.
        """
        model = open_model(self.folder, self.settings, self.threads)
        manifest = model.manifest
        self._pages = pages() | api_pages(manifest.name, manifest.version, manifest.labels, self.settings.max_texts)
        self._routes = routes(manifest.name)
        if self.guard is not None:
            self._routes |= {path: {"GET": Route(handler)} for path, handler in self.guard.routes.items()}
        counters = Counters(self.counters_folder, [*self._routes, *PROBES, PAGE, OTHER], STATUSES)
        self.runtime = Runtime(model, self.settings, counters, self.bento)
        await self.runtime.warm()
        self.ready = True

    def drain(self) -> None:
        """From now on every answer asks its client to connect anew, and readiness is denied."""
        self._draining = True
        self._headers = [*_ALWAYS, *_CLOSE]
        self.ready = False

    def stop(self) -> None:
        """Finishes what is at work and writes what is recorded."""
        self.ready = False
        if self.runtime:
            self.runtime.close()

    def serves(self, path: str) -> bool:
        """Whether the path is one of this application's own."""
        return path in self._routes or path in self._pages or path in PROBES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    await self.start()
                except Exception as error:
                    self.stop()
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    raise
                await send({"type": "lifespan.startup.complete"})
            else:
                self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        request = Request(scope, receive, self.next_id())
        path = scope["path"]
        response: Response | Stream
        try:
            response = await self._respond(request, path)
        except Problem as problem:
            response = problem.response()
        except Disconnected:
            if self.runtime:
                self.runtime.counters.disconnect()
            return
        except Exception:
            logger.exception("request %s failed", request.id)
            response = Problem(500, f"the service failed; its log has more under {request.id}").response()
        extra = [(b"x-request-id", request.id.encode()), *self._headers]
        if self.runtime:
            self._count(self.runtime, request, path, response.status, time.perf_counter() - started)
        if isinstance(response, Stream):
            try:
                await send_stream(send, response, extra)
            except Disconnected:
                if self.runtime:
                    self.runtime.counters.disconnect()
        else:
            if self.guard is not None:
                response = self.guard.seal(request, response)
            await send_response(send, response, extra, scope["method"] == "HEAD")

    async def _respond(self, request: Request, path: str) -> Response | Stream:
        method = request.scope["method"]
        if path in PROBES:
            _check_method(method, ("GET",))
            return self._probe(path)
        if self.runtime is None:
            raise Problem(503, "the model is not loaded yet")
        methods = self._routes.get(path)
        if methods is None:
            page = self._pages.get(path)
            if page is None:
                raise Problem(404, "there is nothing at this path; GET /docs shows what there is")
            _check_method(method, ("GET",))
            if self.guard is not None:
                self.guard.authorise(request, path)
            return page.answer(request)
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            raise _wrong_method(tuple(methods))
        if self.guard is not None:
            self.guard.authorise(request, path)
        if route.has_body:
            return await self._with_body(self.runtime, request, route)
        return await route.handler(self.runtime, request, b"")

    async def _with_body(self, runtime: Runtime, request: Request, route: Route) -> Response | Stream:
        kind = request.header(b"content-type")
        if kind is not None and not kind.lower().startswith(b"application/json"):
            raise Problem(415, "the body must be JSON: send Content-Type: application/json", "Content-Type")
        try:
            body = await self._intake.body(request)
            if self.guard is not None:
                body = self.guard.open(request, body)
            return await route.handler(runtime, request, body)
        finally:
            self._intake.release(request)

    def _probe(self, path: str) -> Response:
        if PROBES[path] and not self.ready:
            raise Problem(503, "not ready to take new connections" if self._draining else "the model is not loaded yet")
        return Response(200, b"\n", [(b"content-type", b"text/plain; charset=utf-8")])

    def _count(self, runtime: Runtime, request: Request, path: str, status: int, seconds: float) -> None:
        known = path in self._routes or path in PROBES
        route = path if known else PAGE if path in self._pages else OTHER
        runtime.counters.request(route, status, seconds)
        if runtime.access is not None:
            moment, client = time.time(), runtime.client_name(request)

            def record() -> list[AccessRecord]:
                # In the writing thread: what stands in a path that nobody knows may be long to look through.
                asked = path if route is not OTHER else runtime.redact.masked(path)
                return [AccessRecord(moment, request.id, request.scope["method"], asked, status, seconds * 1e3, client)]

            runtime.access.add(record)


PROBES = {
    "/livez": False,
    "/healthz": False,
    "/readyz": True,
    "/v2/health/live": False,
    "/v2/health/ready": True,
}
"""Paths of the probes, and whether they ask for readiness."""


def _check_method(method: str, allowed: tuple[str, ...]) -> None:
    if method not in allowed and not (method == "HEAD" and "GET" in allowed):
        raise _wrong_method(allowed)


def _wrong_method(allowed: tuple[str, ...]) -> Problem:
    names = ", ".join([*allowed, "HEAD"] if "GET" in allowed else allowed)
    return Problem(405, f"use {names} here", headers=((b"allow", names.encode()),))


def routes(name: str) -> dict[str, dict[str, Route]]:
    """Path to method to route, for the model called `name`."""
    return {
        "/predict": {"POST": Route(handlers.predict, has_body=True)},
        "/explain": {"POST": Route(handlers.explain, has_body=True)},
        "/feedback": {"POST": Route(handlers.feedback, has_body=True)},
        "/predict/stream": {"POST": Route(streaming.stream)},
        "/model": {"GET": Route(handlers.model)},
        "/metrics": {"GET": Route(handlers.metrics)},
        "/v2": {"GET": Route(inference_protocol.server)},
        f"/v2/models/{name}": {"GET": Route(inference_protocol.metadata)},
        f"/v2/models/{name}/ready": {"GET": Route(inference_protocol.ready)},
        f"/v2/models/{name}/infer": {"POST": Route(inference_protocol.infer, has_body=True)},
    }
