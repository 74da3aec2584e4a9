"""The one place where a request is authorised, what it asks for is counted, and bodies are opened and sealed."""

from collections.abc import Sequence
from typing import Any, Protocol

from bentos.serving.guard.api_keys import ApiScope
from bentos.serving.http.asgi import Request, Response
from bentos.serving.http.route import Route


class Guard(Protocol):
    """What stands between the network and the handlers; an application without one lets everything pass.

    All refuse by raising `problems.Problem`. For every request the order is: `authorise`, the body within its
    limits, `open`, decoding, the route's cost, `Caller.spend`, the handler, `seal`.
    """

    @property
    def routes(self) -> Sequence[Route[Any, None]]:
        """What the guard itself answers."""
        ...

    def authorise(self, request: Request, scope: ApiScope | None, of_lines: bool) -> None:
        """Called before the body is read; may set `request.caller`. `scope` None lets everybody pass."""
        ...

    def open(self, request: Request, body: bytes) -> bytes:
        """The plain body."""
        ...

    def seal(self, request: Request, response: Response) -> Response:
        """The response as it is sent."""
        ...
