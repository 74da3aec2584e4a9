"""What a kind of service gives to the core, and the core to it.

A kind is a package `bentos.KIND` with a module `settings`, whose `Settings` are read before anything heavy is
imported, and a module `kind`, whose `SERVICE` is a `Service`. The core imports neither by name.
"""

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec

from bentos.serving.http.route import Route
from bentos.serving.records.recorder import Recorder


class ModelIdentity(msgspec.Struct, frozen=True):
    """The model that made an answer; `bento` is the tag of its bento."""

    bento: str
    name: str
    version: str


class Question(msgspec.Struct, frozen=True):
    """What a service is asked before it gets traffic, and what it then says.

    `body` is sent as JSON; bytes are sent as they are. `statuses` are the right ones. `check` is given a 200 answer,
    decoded, and says what is wrong with it; None where nothing is.
    """

    about: str
    method: str
    path: str
    body: Any = None
    statuses: tuple[int, ...] = (200,)
    check: Callable[[Any], str | None] = lambda answer: None


class Served(Protocol):
    """A model in service, for one event loop. Handlers of its routes are given it."""

    @property
    def identity(self) -> ModelIdentity: ...

    def narrow(self, document: dict[str, Any]) -> None:
        """Says in the OpenAPI document what only this model knows, such as its labels."""
        ...

    def gauges(self) -> Mapping[str, float]:
        """Prometheus series of this moment, by name and labels."""
        ...

    async def warm(self) -> None:
        """Makes real answers: a broken model fails here, before traffic."""
        ...

    def close(self) -> None:
        """Finishes what is at work."""
        ...


class Service(Protocol):
    """A kind of service."""

    @property
    def kind(self) -> str:
        """The name of its package below `bentos`."""
        ...

    @property
    def about(self) -> str:
        """One sentence for the description of its API."""
        ...

    @property
    def web(self) -> Path | None:
        """The folder of its page; None where it has none."""
        ...

    def routes(self, model: str) -> Sequence[Route[Any, Any]]:
        """The routes of the service of the model called `model`, those of the core left out."""
        ...

    def open(self, folder: Path, settings: Any, *, threads: int, bento: str | None, recorder: Recorder) -> Served:
        """The model in `folder`, ready to be warmed; answers name `bento`, the manifest's name and version when None.

        Raises:
            ModelError: the folder cannot be served.
        """
        ...


def service_of(kind: str) -> Service:
    """The kind of service with this name."""
    return importlib.import_module(f"bentos.{kind}.kind").SERVICE
