"""The BentoML service: its name, a method for each route that BentoML's clients call, one middleware that answers.

BentoML's own request path is set aside, since with a small model it is most of the cost: no
per-request metrics, access log and tracing of its own (the application counts and logs more
cheaply), and an ASGI middleware that hands every path of the application to it.
"""

import inspect
from pathlib import Path
from typing import Any

from bentos.text_classifier.cpus import share
from bentos.text_classifier.process import (
    counters_folder,
    keep_private,
    limit_libraries,
    raise_descriptor_limit,
    settle_memory,
)
from bentos.text_classifier.settings import SETTINGS, ServiceSettings, connection_limits, load_settings, model_folder

_FOLDER = model_folder()
_SETTINGS = load_settings(_FOLDER.parent / SETTINGS)
_WORKERS, _THREADS = share(_SETTINGS.workers, _SETTINGS.threads)
limit_libraries(_THREADS)
keep_private()

import bentoml  # noqa: E402  (the thread limits come first)
import msgspec  # noqa: E402
import uvicorn.config  # noqa: E402
from bentoml._internal.utils.analytics import usage_stats  # noqa: E402

from bentos.text_classifier.access import guard_from_environment  # noqa: E402
from bentos.text_classifier.app import PROBES, Application  # noqa: E402
from bentos.text_classifier.asgi import Receive, Response, Scope, Send  # noqa: E402
from bentos.text_classifier.connections import Connections  # noqa: E402
from bentos.text_classifier.personal_data import mask_logs  # noqa: E402
from bentos.text_classifier.protocol import bounded  # noqa: E402
from bentos.text_classifier.route import Route  # noqa: E402
from bentos.text_classifier.routes import routes  # noqa: E402

# BentoML's worker imports this module before it starts uvicorn, and leaves the choice of the protocol to it.
_PROTOCOL: Any = bounded(Connections(connection_limits(_SETTINGS), PROBES))
uvicorn.config.HTTP_PROTOCOLS["auto"] = _PROTOCOL

# `bentoml serve` asks whether it may send before it loads this module, which says no, and remembers the answer.
usage_stats.do_not_track.cache_clear()

_COUNTERS = counters_folder()

application = Application(
    _FOLDER,
    _SETTINGS,
    threads=_THREADS,
    counters_folder=Path(_COUNTERS) if _COUNTERS else None,
    guard=guard_from_environment(_WORKERS),
)


class Front:
    """The application answers the paths that it serves and whatever is no GET, BentoML the rest: files of its own.

    BentoML finds its methods by more spellings of a path than the application (`/predict%0A`), and would answer them
    past every key and limit.

    As an ASGI middleware of the service it would stand behind BentoML's timeout, a task and a timer
    of 60 s for every request, which nothing in BentoML's settings takes away: at thousands of
    requests a second the timers alone stall the collector for tens of milliseconds. When the server
    starts it therefore also steps in front of the Starlette application's whole stack.
    """

    def __init__(self, app: Any) -> None:
        self.bentoml = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = scope["type"] == "http"
        if http and (scope["method"] not in ("GET", "HEAD") or application.serves(scope["path"])):
            await application(scope, receive, send)
            return
        if scope["type"] == "lifespan":
            starlette = scope["app"]
            starlette.middleware_stack = Front(starlette.middleware_stack)
        await self.bentoml(scope, receive, send)


def _resources(settings: ServiceSettings) -> dict[str, str | int]:
    """What the bento asks of a platform, in BentoML's words; what is not set is not asked for."""
    asked = {"cpu": settings.cpu and f"{settings.cpu:g}", "memory": settings.memory, "gpu": settings.gpu}
    return {name: value for name, value in asked.items() if value}


def _method(route: Route[Any, Any]) -> Any:
    """The route as a method of the service, which asks the application as everybody does: limits and keys hold."""

    async def ask(self: object, **fields: Any) -> dict[str, Any]:
        if application.runtime is None:
            await application.start()
        given = {name: value for name, value in fields.items() if value is not None}
        answer = await application.ask(route.path, given)
        assert isinstance(answer, Response)
        return msgspec.json.decode(answer.body)

    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)]
    for one in msgspec.structs.fields(route.body or msgspec.Struct):
        default = inspect.Parameter.empty if one.required else one.default
        parameters.append(
            inspect.Parameter(one.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=one.type)
        )
    ask.__signature__ = inspect.Signature(parameters, return_annotation=dict[str, Any])  # type: ignore[attr-defined]
    ask.__name__, ask.__doc__ = route.name, f"{route.summary}. {route.description}"
    return bentoml.api(route=route.path)(ask)


class _Life:
    """What BentoML calls when a worker begins and ends."""

    @bentoml.on_startup
    async def load(self) -> None:
        """Opens the model and makes real predictions before the service is ready."""
        raise_descriptor_limit()
        if _SETTINGS.personal_data not in (None, "keep"):
            mask_logs()
        await application.start()
        settle_memory()

    @bentoml.on_shutdown
    async def unload(self) -> None:
        """Writes what is recorded."""
        application.stop()


_METHODS = {route.name: _method(route) for route in routes("") if route.rpc}

TextClassifier = bentoml.service(
    type("TextClassifier", (_Life,), {"__doc__": "Labels texts. GET /docs describes every route.", **_METHODS}),
    name="text_classifier",
    workers=_WORKERS,
    resources=_resources(_SETTINGS),  # type: ignore[arg-type]  # a dict made at run time
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
    http={"host": "127.0.0.1"},  # type: ignore[typeddict-item]
)
TextClassifier.add_asgi_middleware(Front)  # type: ignore[arg-type]
