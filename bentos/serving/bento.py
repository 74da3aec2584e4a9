"""A kind of service as BentoML serves it: a method for each route that its clients call, one middleware that answers.

BentoML's own request path is set aside, since with a small model it is most of the cost: no
per-request metrics, access log and tracing of its own (the application counts and logs more
cheaply), and an ASGI middleware that hands every path of the application to it.
"""

from pathlib import Path
from typing import Any

from bentos.serving.cpus import share
from bentos.serving.process import counters_folder, keep_private, limit_libraries
from bentos.serving.settings import (
    SETTINGS,
    ServiceSettings,
    connection_limits,
    load_settings,
    model_folder,
    settings_of,
)


def served(kind: str, name: str) -> Any:
    """The BentoML service of the kind, as the class called `name` of `bentos.KIND.service`, which calls this first of
    all: the thread limits must come before the libraries that read them are imported."""
    folder = model_folder(kind)
    settings = load_settings(folder.parent / SETTINGS, settings_of(kind))
    workers, threads = share(settings.workers, settings.threads)
    limit_libraries(threads)
    keep_private()
    return _served(kind, name, folder, settings, workers, threads)


def _served(kind: str, name: str, folder: Path, settings: ServiceSettings, workers: int, threads: int) -> Any:
    import bentoml
    import uvicorn.config
    from bentoml._internal.utils.analytics import usage_stats

    from bentos.serving.bentoml_front import Front, life, method
    from bentos.serving.guard.access import guard_from_environment
    from bentos.serving.http.application import Application
    from bentos.serving.http.connections import Connections
    from bentos.serving.http.probes import PROBES
    from bentos.serving.http.protocol import bounded
    from bentos.serving.service import service_of

    # BentoML's worker imports the service before it starts uvicorn, and leaves the choice of the protocol to it.
    protocol: Any = bounded(Connections(connection_limits(settings), PROBES))
    uvicorn.config.HTTP_PROTOCOLS["auto"] = protocol
    # `bentoml serve` asks whether it may send before it loads the service, which says no, and remembers the answer.
    usage_stats.do_not_track.cache_clear()
    counters = counters_folder()
    service = service_of(kind)
    application = Application(
        service,
        folder,
        settings,
        threads=threads,
        counters_folder=Path(counters) if counters else None,
        guard=guard_from_environment(workers),
    )
    methods = {route.name: method(application, route) for route in service.routes("") if route.rpc}
    described = {"__doc__": f"{service.about} GET /docs describes every route.", "__module__": f"bentos.{kind}.service"}
    made = bentoml.service(
        type(name, (life(application, settings),), described | methods),
        name=kind,
        workers=workers,
        resources=_resources(settings),  # type: ignore[arg-type]  # a dict made at run time
        metrics={"enabled": False},
        logging={"access": {"enabled": False}},
        tracing={"excluded_urls": ".*"},
        http={"host": "127.0.0.1"},  # type: ignore[typeddict-item]
    )
    made.add_asgi_middleware(Front, application=application)  # type: ignore[arg-type]
    return made


def _resources(settings: ServiceSettings) -> dict[str, str | int]:
    """What the bento asks of a platform, in BentoML's words; what is not set is not asked for."""
    asked = {"cpu": settings.cpu and f"{settings.cpu:g}", "memory": settings.memory, "gpu": settings.gpu}
    return {name: value for name, value in asked.items() if value}
