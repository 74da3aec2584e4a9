"""Questions to a Prefect API that is busy, silent or gone."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from flows import api
from tasks.base.errors import PipelineError


@contextmanager
def server(*statuses: int) -> Iterator[tuple[str, list[str]]]:
    """The address of an API that gives these answers in turn, and what it was asked."""
    asked: list[str] = []
    left = iter(statuses)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(next(left))
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"[]")

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as one:
        thread = threading.Thread(target=one.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{one.server_port}/api", asked
        one.shutdown()
        thread.join()


def test_a_momentary_503_is_asked_again() -> None:
    with server(503, 503, 200) as (url, asked):
        assert api.listed(url, "deployments") == []
    assert asked == ["/api/deployments/filter"] * 3


def test_what_does_not_come_is_said_with_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "PATIENCE_SECONDS", 1.0)
    with server(*[503] * 10) as (url, _), pytest.raises(PipelineError, match=rf"{url} does not answer \(503\)"):
        api.listed(url, "deployments")
    with pytest.raises(PipelineError, match=r"127\.0\.0\.1:9/api does not answer \(.*refused"):
        api.check_answers("http://127.0.0.1:9/api")
