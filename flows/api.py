"""Questions to Prefect's API without importing Prefect, which takes seconds."""

import base64
import os
import time
from typing import Any

import httpx

from flows.environment import CLIENT_AUTH
from tasks.base.errors import PipelineError

PATIENCE_SECONDS = 15.0
"""How long an answer is waited for."""
_PAUSE_SECONDS = 0.5


def authorization(secret: str | None) -> dict[str, str]:
    """The header by which Prefect's API knows its clients; none where there is no secret."""
    return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"} if secret else {}


def listed(url: str, what: str) -> list[dict[str, Any]]:
    """The first entries of one kind, such as `deployments`, that the API at `url` knows.

    Raises:
        PipelineError: it does not answer.
        httpx.HTTPStatusError: it refuses.
    """
    known = authorization(os.environ.get(CLIENT_AUTH))
    return _answer("POST", f"{url}/{what}/filter", url, json={}, headers=known).raise_for_status().json()


def check_answers(url: str) -> None:
    """Raises PipelineError when the API at `url` does not answer."""
    _answer("GET", f"{url}/health", url)


def _answer(method: str, address: str, url: str, **options: Any) -> httpx.Response:
    """Asked again while nothing comes or it is 503, as for a moment when its database is locked."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            answer = httpx.request(method, address, timeout=max(end - time.monotonic(), 1.0), **options)
            if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                return answer
            reason = "503"
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
        if time.monotonic() + _PAUSE_SECONDS > end:
            raise PipelineError(
                f"the Prefect server at {url} does not answer ({reason}): `make up` starts it anew; one that has just"
                " been started may need a minute"
            )
        time.sleep(_PAUSE_SECONDS)
