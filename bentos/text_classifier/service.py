"""The BentoML service: its name, its methods for BentoML's clients, and one middleware that answers.

BentoML's own request path is set aside, since with a small model it is most of the cost: no
per-request metrics, access log and tracing of its own (the application counts and logs more
cheaply), and an ASGI middleware that hands every path of the application to it.
"""

from pathlib import Path
from typing import Any

from bentos.text_classifier.cpus import share
from bentos.text_classifier.process import counters_folder, limit_libraries, raise_descriptor_limit, settle_memory
from bentos.text_classifier.settings import SETTINGS, ServiceSettings, connection_limits, load_settings, model_folder

_FOLDER = model_folder()
_SETTINGS = load_settings(_FOLDER.parent / SETTINGS)
_WORKERS, _THREADS = share(_SETTINGS.workers, _SETTINGS.threads)
limit_libraries(_THREADS)

import bentoml  # noqa: E402  (the thread limits come first)
import msgspec  # noqa: E402
import uvicorn.config  # noqa: E402

from bentos.text_classifier import handlers  # noqa: E402
from bentos.text_classifier.access import guard_from_environment  # noqa: E402
from bentos.text_classifier.app import PROBES, Application  # noqa: E402
from bentos.text_classifier.asgi import Receive, Request, Scope, Send  # noqa: E402
from bentos.text_classifier.bodies import ExplainBody, FeedbackBody, PredictBody  # noqa: E402
from bentos.text_classifier.connections import Connections  # noqa: E402
from bentos.text_classifier.personal_data import mask_logs  # noqa: E402
from bentos.text_classifier.protocol import bounded  # noqa: E402

# BentoML's worker imports this module before it starts uvicorn, and leaves the choice of the protocol to it.
_PROTOCOL: Any = bounded(Connections(connection_limits(_SETTINGS), PROBES))
uvicorn.config.HTTP_PROTOCOLS["auto"] = _PROTOCOL

_COUNTERS = counters_folder()

application = Application(
    _FOLDER,
    _SETTINGS,
    threads=_THREADS,
    counters_folder=Path(_COUNTERS) if _COUNTERS else None,
    guard=guard_from_environment(_WORKERS),
)


class Front:
    """The application answers the paths that it serves, BentoML the rest.

    As an ASGI middleware of the service it would stand behind BentoML's timeout, a task and a timer
    of 60 s for every request, which nothing in BentoML's settings takes away: at thousands of
    requests a second the timers alone stall the collector for tens of milliseconds. When the server
    starts it therefore also steps in front of the Starlette application's whole stack.
    """

    def __init__(self, app: Any) -> None:
        self.bentoml = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and application.serves(scope["path"]):
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


@bentoml.service(
    name="text_classifier",
    workers=_WORKERS,
    resources=_resources(_SETTINGS),  # type: ignore[arg-type]  # a dict made at run time
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": ".*"},
    http={"host": "127.0.0.1"},  # type: ignore[typeddict-item]
)
class TextClassifier:
    """Labels texts. GET /docs describes every route, GET /model the model."""

    async def _request(self) -> Request:
        if application.runtime is None:
            await application.start()
        return Request({"type": "http", "headers": [], "client": None}, _no_more, application.next_id())

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

    @bentoml.api(route="/predict")
    async def predict(
        self,
        texts: list[str],
        top_k: int | None = None,
        threshold: float | None = None,
        labels: list[str] | None = None,
        explain: bool = False,
    ) -> dict[str, Any]:
        """One prediction a text, in order."""
        asked = PredictBody(texts, top_k, threshold, labels, explain)
        request = await self._request()
        assert application.runtime
        return msgspec.to_builtins(await handlers.answer_predict(application.runtime, request, asked))

    @bentoml.api(route="/explain")
    async def explain(self, text: str, label: str | None = None, budget: int | None = None) -> dict[str, Any]:
        """What each word of the text adds to the label's score."""
        request = await self._request()
        assert application.runtime
        answer = await handlers.answer_explain(application.runtime, request, ExplainBody(text, label, budget))
        return msgspec.to_builtins(answer)

    @bentoml.api(route="/feedback")
    async def feedback(self, id: str, text: str, label: str | list[str]) -> dict[str, Any]:
        """Stores the right label of an earlier prediction."""
        request = await self._request()
        assert application.runtime
        answer = await handlers.answer_feedback(application.runtime, request, FeedbackBody(id, text, label))
        return msgspec.to_builtins(answer)


async def _no_more() -> dict[str, Any]:
    return {"type": "http.disconnect"}


TextClassifier.add_asgi_middleware(Front)  # type: ignore[arg-type]
