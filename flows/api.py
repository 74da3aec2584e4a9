"""Questions to Prefect's API without importing Prefect, which takes seconds."""

import base64
import os
from typing import Any

import httpx

from flows.environment import CLIENT_AUTH


def authorization(secret: str | None) -> dict[str, str]:
    """The header by which Prefect's API knows its clients; none where there is no secret."""
    return {"Authorization": f"Basic {base64.b64encode(secret.encode()).decode()}"} if secret else {}


def listed(url: str, what: str) -> list[dict[str, Any]]:
    """The first entries of one kind, such as `deployments`, that the API at `url` knows.

    Raises:
        httpx.HTTPError: it does not answer, or refuses.
    """
    known = authorization(os.environ.get(CLIENT_AUTH))
    answer = httpx.post(f"{url}/{what}/filter", json={}, headers=known, timeout=10)
    return answer.raise_for_status().json()
