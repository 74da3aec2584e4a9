"""The ASGI application: the same one behind `bentoml serve` and behind the supervised workers.

Routing, limits, problem details, counting and draining live here; what a route does is in
`handlers`. No framework stands between the server and the handlers, since with a small model the
framework is most of the cost.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bentos.serving.counters import CONTENT_TYPE
from bentos.serving.guard.guard import Guard
from bentos.serving.http import openapi
from bentos.serving.http.asgi import (
    Disconnected,
    Headers,
    Message,
    Receive,
    Request,
    Response,
    Scope,
    Send,
    Stream,
    request_ids,
    send_response,
    send_stream,
)
from bentos.serving.http.intake import Intake
from bentos.serving.http.probes import probes
from bentos.serving.http.problems import Problem, not_loaded, wrong_method
from bentos.serving.http.route import PLAIN, Route, by_path
from bentos.serving.http.site import Page, api_pages, pages
from bentos.serving.http.wire import decode, encode
from bentos.serving.model_folder import model_name
from bentos.serving.records.recorder import Recorder
from bentos.serving.records.records import AccessRecord
from bentos.serving.service import Served, Service
from bentos.serving.settings import ServiceSettings

logger = logging.getLogger(__name__)

STATUSES = (200, 304, 400, 401, 403, 404, 405, 408, 409, 413, 415, 422, 429, 500, 503, 507)
PAGE = "page"
OTHER = "other"
_ALWAYS: Headers = [(b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY")]
_CLOSE: Headers = [(b"connection", b"close")]


class Application:
    """An ASGI application that serves one model folder.

    Args:
        service: the kind of service.
        folder: the model folder.
        threads: ONNX Runtime threads.
        bento: the tag that answers name; the manifest's name and version when None.
        counters_folder: where the counters of several workers meet; in memory when None.
        guard: who may ask, and how bodies are opened; everybody and as they are when None.
    """

    def __init__(
        self,
        service: Service,
        folder: Path,
        settings: ServiceSettings,
        *,
        threads: int = 1,
        bento: str | None = None,
        counters_folder: Path | None = None,
        guard: Guard | None = None,
    ) -> None:
        self.service = service
        self.folder = folder
        self.settings = settings
        self.threads = threads
        self.bento = bento
        self.counters_folder = counters_folder
        self.guard = guard
        self.runtime: Served | None = None
        self.recorder: Recorder | None = None
        self.ready = False
        self._headers: Headers = list(_ALWAYS)
        self._draining = False
        self._intake = Intake(
            int(settings.max_body_mb * 1e6),
            int(settings.max_answer_mb * 1e6),
            int(settings.max_pending_mb * 1e6),
            settings.max_body_seconds,
        )
        self.next_id: Callable[[], str] = request_ids()
        self._pages: dict[str, Page] = pages(service.web) if service.web else {}
        self.routes: list[Route[Any, Any]] = [
            *probes(lambda: self.ready, lambda: self._draining),
            *(guard.routes if guard is not None else ()),
        ]
        self._by_path: dict[str, dict[str, Route[Any, Any]]] = by_path(self.routes)

    async def start(self) -> None:
        """Opens the model and makes real predictions with it; only then the service is ready.

        Raises:
            ModelError: the model folder cannot be served.
        """
        name = model_name(self.folder)
        self.routes = [*self.service.routes(name), self._metrics(), *self.routes]
        self._by_path = by_path(self.routes)
        recorder = Recorder(self.settings, self.counters_folder, [*self._by_path, PAGE, OTHER], STATUSES)
        self.recorder = recorder
        served = self.service.open(
            self.folder, self.settings, threads=self.threads, bento=self.bento, recorder=recorder
        )
        self.runtime = served
        document = openapi.document(self.routes, name, served.identity.version, self.service.about)
        served.narrow(document)
        self._pages |= api_pages(self.routes, document, name)
        await served.warm()
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
        if self.recorder:
            self.recorder.close()

    def serves(self, path: str) -> bool:
        """Whether the path is one of this application's own; before the model is loaded any may be."""
        return self.runtime is None or path in self._by_path or path in self._pages

    async def ask(self, path: str, fields: dict[str, Any]) -> Response | Stream:
        """The answer to a POST from this process, by the rules for a request that carries no key.

        Raises:
            Problem: it is refused.
        """
        content = encode(fields)

        async def receive() -> Message:
            if request.held:
                # Whoever asks from here does not leave before the answer.
                await asyncio.Event().wait()
            return {"type": "http.request", "body": content}

        scope = {"type": "http", "method": "POST", "path": path, "headers": [], "query_string": b"", "client": None}
        request = Request(scope, receive, self.next_id())
        return await self._respond(request, path)

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
            if self.recorder:
                self.recorder.counters.disconnect()
            return
        except Exception:
            logger.exception("request %s failed", request.id)
            response = Problem(500, f"the service failed; its log has more under {request.id}").response()
        extra = [(b"x-request-id", request.id.encode()), *self._headers]
        if self.recorder:
            self._count(self.recorder, request, path, response.status, time.perf_counter() - started)
        if isinstance(response, Stream):
            try:
                await send_stream(send, response, extra)
            except Disconnected:
                if self.recorder:
                    self.recorder.counters.disconnect()
        else:
            if self.guard is not None:
                response = self.guard.seal(request, response)
            await send_response(send, response, extra, scope["method"] == "HEAD")

    async def _respond(self, request: Request, path: str) -> Response | Stream:
        method = request.scope["method"]
        found = self._by_path.get(path)
        if found is None:
            return self._page(request, path, method)
        route = found.get("GET" if method == "HEAD" else method)
        if route is None:
            raise wrong_method(found)
        if self.runtime is None and not route.early:
            raise not_loaded()
        if self.guard is not None and not route.early:
            self.guard.authorise(request, route.scope, route.of_lines)
        if route.decoder is None:
            return await route.handler(self.runtime, request, None)
        kind = request.header(b"content-type")
        if kind is not None and not kind.lower().startswith(b"application/json"):
            raise Problem(415, "the body must be JSON: send Content-Type: application/json", "Content-Type")
        try:
            body = await self._intake.body(request)
            if self.guard is not None:
                body = self.guard.open(request, body)
            asked = decode(body, route.decoder)
            cost = route.cost(self.runtime, asked)
            self._intake.admit(request, cost.answer, cost.field)
            if request.caller is not None:
                request.caller.spend(cost)
            return await route.handler(self.runtime, request, asked)
        finally:
            self._intake.release(request)

    def _page(self, request: Request, path: str, method: str) -> Response:
        page = self._pages.get(path)
        if page is None or self.runtime is None:
            # What there is depends on the model.
            if self.runtime is None:
                raise not_loaded()
            raise Problem(404, "there is nothing at this path; GET /docs shows what there is")
        if method not in ("GET", "HEAD"):
            raise wrong_method(("GET",))
        if self.guard is not None:
            self.guard.authorise(request, page.scope, False)
        return page.answer(request)

    def _metrics(self) -> Route[Any, None]:
        async def metrics(served: Served, request: Request, body: None) -> Response:
            assert self.recorder
            gauges = {
                f'model_service_info{{bento="{served.identity.bento}",kind="{self.service.kind}"}}': 1.0,
                "model_service_records_dropped": float(self.recorder.dropped),
                **served.gauges(),
            }
            return Response(200, self.recorder.counters.expose(gauges), [(b"content-type", CONTENT_TYPE)])

        summary = "Counters over all workers, in Prometheus' text format"
        return Route("GET", "/metrics", "metrics", summary, metrics, scope="admin", media_type=PLAIN)

    def _count(self, recorder: Recorder, request: Request, path: str, status: int, seconds: float) -> None:
        route = path if path in self._by_path else PAGE if path in self._pages else OTHER
        recorder.counters.request(route, status, seconds)
        if recorder.access is not None:
            moment, client = time.time(), recorder.client_name(request)

            def record() -> list[AccessRecord]:
                # In the writing thread: what stands in a path that nobody knows may be long to look through.
                asked = path if route is not OTHER else recorder.redact.masked(path)
                return [AccessRecord(moment, request.id, request.scope["method"], asked, status, seconds * 1e3, client)]

            recorder.access.add(record)
