"""What stands between BentoML and the application: who answers which path, its methods, its hooks."""

import inspect
from typing import Any

import bentoml
import msgspec

from bentos.serving.http.application import Application
from bentos.serving.http.asgi import Receive, Response, Scope, Send
from bentos.serving.http.route import Route
from bentos.serving.process import raise_descriptor_limit, settle_memory
from bentos.serving.records.personal_data import mask_logs
from bentos.serving.settings import ServiceSettings


class Front:
    """The application answers the paths that it serves and whatever is no GET, BentoML the rest: files of its own.

    BentoML finds its methods by more spellings of a path than the application (`/predict%0A`), and would answer them
    past every key and limit.

    As an ASGI middleware of the service it would stand behind BentoML's timeout, a task and a timer
    of 60 s for every request, which nothing in BentoML's settings takes away: at thousands of
    requests a second the timers alone stall the collector for tens of milliseconds. When the server
    starts it therefore also steps in front of the Starlette application's whole stack.
    """

    def __init__(self, app: Any, application: Application) -> None:
        self.bentoml = app
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        http = scope["type"] == "http"
        if http and (scope["method"] not in ("GET", "HEAD") or self.application.serves(scope["path"])):
            await self.application(scope, receive, send)
            return
        if scope["type"] == "lifespan":
            starlette = scope["app"]
            starlette.middleware_stack = Front(starlette.middleware_stack, self.application)
        await self.bentoml(scope, receive, send)


def method(application: Application, route: Route[Any, Any]) -> Any:
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


def life(application: Application, settings: ServiceSettings) -> type:
    """What BentoML calls when a worker begins and ends, as the base of a service's class."""

    class Life:
        @bentoml.on_startup
        async def load(self) -> None:
            """Opens the model and makes real answers before the service is ready."""
            raise_descriptor_limit()
            if settings.personal_data not in (None, "keep"):
                mask_logs()
            await application.start()
            settle_memory()

        @bentoml.on_shutdown
        async def unload(self) -> None:
            """Writes what is recorded."""
            application.stop()

    return Life
