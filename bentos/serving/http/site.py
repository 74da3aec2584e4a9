"""What is served as it is: the page's files and the descriptions of the API, held in memory."""

import hashlib
import mimetypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bentos.serving.guard.api_keys import ApiScope
from bentos.serving.http import api_page, openapi
from bentos.serving.http.asgi import Headers, Request, Response
from bentos.serving.http.route import Route
from bentos.serving.http.wire import encode

_HEADERS: Headers = [
    (b"referrer-policy", b"no-referrer"),
    # The files of another version may be served after a swap.
    (b"cache-control", b"no-cache"),
]

# The page brings all that it needs; nothing from elsewhere and nothing inline may run in it.
_POLICY: Headers = [
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )
]

# The description of the API is one file without scripts, its style inside.
_STYLED: Headers = [
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    )
]


class Page:
    """One file and its headers; a key must be for `scope`, everybody may ask when None."""

    def __init__(
        self, content: bytes, kind: str, headers: Headers | None = None, scope: ApiScope | None = "predict"
    ) -> None:
        self.content = content
        self.scope: ApiScope | None = scope
        self.etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'.encode()
        charset = "; charset=utf-8" if kind.startswith("text/") or kind.endswith("javascript") else ""
        self.headers: Headers = [(b"content-type", f"{kind}{charset}".encode()), (b"etag", self.etag), *_HEADERS]
        self.headers += headers or []

    def answer(self, request: Request) -> Response:
        if request.header(b"if-none-match") == self.etag:
            return Response(304, b"", self.headers)
        return Response(200, self.content, self.headers)


def pages(folder: Path) -> dict[str, Page]:
    """Path to page for every file under `folder`; `index.html` is `/`."""
    found = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
            # Files hold no data. The page's address does ask, so that a browser lets a person type the key.
            scope = "predict" if kind == "text/html" else None
            found["/" + file.relative_to(folder).as_posix()] = Page(file.read_bytes(), kind, _POLICY, scope)
    if "/index.html" in found:
        found["/"] = found["/index.html"]
    return found


def api_pages(routes: Sequence[Route[Any, Any]], document: dict[str, Any], model: str) -> dict[str, Page]:
    """The OpenAPI document, for tools, for people and as BentoML's clients read it."""
    described = Page(encode(document), "application/json")
    return {
        "/openapi.json": described,
        "/docs.json": described,
        "/docs": Page(api_page.page(document), "text/html", _STYLED),
        "/schema.json": Page(encode(openapi.bentoml_schema(routes, model)), "application/json"),
    }
