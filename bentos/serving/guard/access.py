"""The guard of a protected service: API keys with scopes and limits, and encrypted requests."""

import base64
import binascii
import math
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bentos.serving.guard.api_keys import ApiKey, ApiScope, KeyRing
from bentos.serving.guard.network import API_KEYS_VARIABLE, ENCRYPTION_HEADER, ENVELOPES_VARIABLE, KEYS_PATH
from bentos.serving.http.asgi import JSON_TYPE, Cost, Request, Response
from bentos.serving.http.intake import announced
from bentos.serving.http.problems import Problem, limited
from bentos.serving.http.route import Route

if TYPE_CHECKING:
    from bentos.serving.guard.envelope import Envelopes

_CHALLENGES = ((b"www-authenticate", b"Bearer"), (b"www-authenticate", b'Basic realm="API key as the password"'))
_DAY = 86400.0
_BURST_SECONDS = 2.0


class Caller:
    """A key at work: what it has left; see `guard.Caller`."""

    def __init__(self, key: ApiKey, workers: int) -> None:
        self.workers = workers
        self.renew(key)
        self._texts = _Day()
        self._explanations = _Day()

    def renew(self, key: ApiKey) -> None:
        """Takes over a changed key with full buckets."""
        self.key = key
        self._rate = (key.rate or math.inf) / self.workers
        self._burst = max(1.0, self._rate * _BURST_SECONDS)
        self._left = self._burst
        self._moment = time.monotonic()

    def __str__(self) -> str:
        return self.key.name

    def spend_request(self) -> None:
        """Raises 429 beyond the rate."""
        if self.key.rate is None:
            return
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._moment) * self._rate)
        self._moment = now
        if self._left < 1.0:
            raise limited("this key asks more often than it may", b"key", (1.0 - self._left) / self._rate)
        self._left -= 1.0

    @property
    def decimals(self) -> int | None:
        return self.key.decimals

    def check_size(self, size: int) -> None:
        """Raises 413 beyond the size of a request."""
        most = self.key.max_body_mb
        if most is not None and size > most * 1e6:
            raise Problem(413, f"the body is larger than the {most:g} MB that this key may send")

    def spend(self, cost: Cost) -> None:
        """Raises 403 without the scope, 429 beyond the day's texts or explanations, and then spends neither."""
        key = self.key
        if cost.explanations and "explain" not in key.scopes:
            raise Problem(403, "this key is not for explanations", "explain")
        share = 1 / self.workers
        self._texts.check(cost.texts, key.texts_a_day, share, "texts")
        self._explanations.check(cost.explanations, key.explanations_a_day, share, "explanations")
        self._texts.used += cost.texts
        self._explanations.used += cost.explanations


class _Day:
    """What was used of a day's budget; the day begins with the first use."""

    def __init__(self) -> None:
        self.used = 0
        self._began: float | None = None

    def check(self, count: int, most: int | None, share: float, what: str) -> None:
        """Raises 429 when `count` more are above this worker's share of the `most` in a day."""
        if most is None or count == 0:
            return
        now = time.monotonic()
        if self._began is None or now - self._began > _DAY:
            self._began, self.used = now, 0
        if self.used + count > most * share:
            raise limited(f"this key's {what} of the day are used up", b"key", _DAY - (now - self._began))


def _keys_route(envelopes: "Envelopes") -> Route[Any, None]:
    # Imported here as in `guard_from_environment`.
    from bentos.serving.guard.envelope import PublishedKey

    async def publish(service: object, request: Request, body: None) -> Response:
        return Response(200, msgspec.json.encode(envelopes.published()), [JSON_TYPE, (b"cache-control", b"no-store")])

    return Route(
        "GET", KEYS_PATH, "keys", "The public key to encrypt requests to", publish, scope=None, answer=PublishedKey
    )


class Access:
    """See `guard.Guard`.

    Args:
        keys: the file of API keys; everybody may ask for everything when None.
        envelopes: opens encrypted requests; they are refused when None.
        workers: among how many processes limits are divided.
    """

    def __init__(self, keys: Path | None, envelopes: "Envelopes | None", workers: int) -> None:
        self._ring = KeyRing(keys) if keys else None
        self._envelopes = envelopes
        self._workers = workers
        self._callers: dict[str, Caller] = {}
        self.routes: list[Route[Any, None]] = []
        if envelopes is not None:
            self.routes.append(_keys_route(envelopes))

    def authorise(self, request: Request, scope: ApiScope | None, of_lines: bool) -> None:
        if request.header(ENCRYPTION_HEADER) is not None and (self._envelopes is None or of_lines):
            raise Problem(415, "encrypted requests are not taken here", ENCRYPTION_HEADER.decode())
        if self._ring is None or scope is None:
            return
        key = self._ring.find(_token(request))
        if key is None:
            raise Problem(401, "an API key is needed: send Authorization: Bearer KEY", headers=_CHALLENGES)
        if scope not in key.scopes:
            raise Problem(403, f"this key is not for {scope}")
        caller = self._callers.get(key.id)
        if caller is None:
            caller = self._callers[key.id] = Caller(key, self._workers)
        elif caller.key != key:
            caller.renew(key)
        request.caller = caller
        caller.spend_request()
        if key.max_body_mb is not None:
            caller.check_size(announced(request))

    def open(self, request: Request, body: bytes) -> bytes:
        if request.caller is not None:
            request.caller.check_size(len(body))
        if request.header(ENCRYPTION_HEADER) is not None and self._envelopes is not None:
            body = self._envelopes.open(request, body)
        return body

    def seal(self, request: Request, response: Response) -> Response:
        return response if self._envelopes is None else self._envelopes.seal(request, response)


def guard_from_environment(workers: int) -> Access | None:
    """The guard that the supervisor, or a person, asks for by environment variables; None when they are not set."""
    keys, folder = os.environ.get(API_KEYS_VARIABLE), os.environ.get(ENVELOPES_VARIABLE)
    if not keys and not folder:
        return None
    envelopes = None
    if folder:
        # Imported here: who needs no encrypted requests does not pay for them.
        from bentos.serving.guard.envelope import Envelopes

        envelopes = Envelopes(Path(folder))
    return Access(Path(keys) if keys else None, envelopes, workers)


def _token(request: Request) -> str:
    value = (request.header(b"authorization") or b"").decode("latin-1")
    scheme, _, rest = value.partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        # A browser sends these by itself, for other sites' pages too.
        if request.header(b"sec-fetch-site") not in (None, b"same-origin", b"none"):
            raise Problem(403, "a request of another site's page is not answered")
        try:
            return base64.b64decode(rest, validate=True).decode().partition(":")[2]
        except (binascii.Error, ValueError):
            return ""
    return ""
