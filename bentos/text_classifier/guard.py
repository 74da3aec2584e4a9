"""The one place where a request is authorised and where bodies are opened and sealed."""

from collections.abc import Mapping
from typing import Protocol

from bentos.text_classifier.asgi import Request, Response
from bentos.text_classifier.handlers import Handler


class Guard(Protocol):
    """What stands between the network and the handlers; an application without one lets everything pass.

    `authorise` may set `request.caller`, which names the client in records; it and `open` raise
    `problems.Problem` to refuse.
    """

    @property
    def routes(self) -> Mapping[str, Handler]:
        """What the guard itself answers, by path; `GET` alone."""
        ...

    def authorise(self, request: Request, route: str) -> None:
        """Called before the body is read, with the route's path."""
        ...

    def open(self, request: Request, body: bytes) -> bytes:
        """The body as the handlers read it."""
        ...

    def seal(self, request: Request, response: Response) -> Response:
        """The response as it is sent."""
        ...
