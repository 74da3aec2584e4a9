"""The Prefect server that is kept, behind a guard: `python -m flows.prefect_server PORT`, started by `flows.system`.

Prefect itself asks whoever comes for the secret. The guard stands before that and refuses what a web page in the
operator's browser may send: requests from another origin, and those whose `Host` is no name of this machine, which is
how a foreign page gets around the rule of the same origin (DNS rebinding).
"""

import sys

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import get_current_settings
from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

HOSTS = ["127.0.0.1", "localhost"]
"""Whatever the port: one that is forwarded (ssh -L) has another."""


class SameOrigin:
    """Refuses requests and websockets that a page of another origin sends; what is no browser sends no `Origin`."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self.app
        if scope["type"] != "lifespan":
            headers = Headers(scope=scope)
            if headers.get("origin") not in (None, f"http://{headers['host']}"):
                app = PlainTextResponse("this page belongs to another origin", status_code=403)
        await app(scope, receive, send)


def guarded(app: ASGIApp) -> ASGIApp:
    """`app` behind the guard."""
    return TrustedHostMiddleware(SameOrigin(app), allowed_hosts=HOSTS, www_redirect=False)


def main(port: int) -> None:
    """Serves on loopback until a signal ends it."""
    server = get_current_settings().server
    uvicorn.run(
        guarded(create_app(final=True)),
        host="127.0.0.1",
        port=port,
        timeout_keep_alive=server.api.keepalive_timeout,
        ws_ping_interval=server.api.websocket_ping_interval,
        ws_ping_timeout=server.api.websocket_ping_timeout,
        log_level=server.logging_level.lower(),
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
