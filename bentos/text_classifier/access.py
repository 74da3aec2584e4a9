"""The guard of a protected service: API keys with scopes and limits, and encrypted requests."""

import base64
import binascii
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from bentos.text_classifier.api_keys import ApiKey, ApiScope, KeyRing
from bentos.text_classifier.asgi import JSON_TYPE, Request, Response
from bentos.text_classifier.handlers import Handler
from bentos.text_classifier.network import API_KEYS_VARIABLE, ENCRYPTION_HEADER, ENVELOPES_VARIABLE, KEYS_PATH
from bentos.text_classifier.problems import Problem, limited
from bentos.text_classifier.site import pages

if TYPE_CHECKING:
    from bentos.text_classifier.envelope import Envelopes

_NEEDED: Mapping[str, ApiScope] = {"/explain": "explain", "/feedback": "feedback", "/metrics": "admin"}
_CHALLENGES = ((b"www-authenticate", b"Bearer"), (b"www-authenticate", b'Basic realm="API key as the password"'))
_DAY = 86400.0
_BURST_SECONDS = 2.0


class _Tensor(msgspec.Struct):
    data: list[Any] = []


class _Asked(msgspec.Struct):
    """What limits depend on in a body; `inputs` is the inference protocol's."""

    texts: list[Any] = []
    explain: Any = False
    inputs: list[_Tensor] = []


_ASKED = msgspec.json.Decoder(_Asked)


class Caller:
    """A key at work: what it has left. `str()` names it in records."""

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

    def spend(self, texts: int, explanations: int) -> None:
        """Raises 429 beyond the day's texts or explanations, and then spends neither."""
        share = 1 / self.workers
        self._texts.check(texts, self.key.texts_a_day, share, "texts")
        self._explanations.check(explanations, self.key.explanations_a_day, share, "explanations")
        self._texts.used += texts
        self._explanations.used += explanations


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


async def _publish(envelopes: "Envelopes") -> Response:
    return Response(200, msgspec.json.encode(envelopes.published()), [JSON_TYPE, (b"cache-control", b"no-store")])


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
        self.routes: dict[str, Handler] = {}
        if envelopes is not None:
            self.routes[KEYS_PATH] = lambda runtime, request, body: _publish(envelopes)
        # The page's files hold no data. Its address does ask, so that a browser lets a person type the key.
        self._open = frozenset({*pages(), KEYS_PATH} - {"/", "/index.html"})

    def authorise(self, request: Request, route: str) -> None:
        if request.header(ENCRYPTION_HEADER) is not None and (self._envelopes is None or route.startswith("/predict/")):
            raise Problem(415, "encrypted requests are not taken here", ENCRYPTION_HEADER.decode())
        if self._ring is None or route in self._open:
            return
        key = self._ring.find(_token(request))
        if key is None:
            raise Problem(401, "an API key is needed: send Authorization: Bearer KEY", headers=_CHALLENGES)
        needed = _NEEDED.get(route, "predict")
        if needed not in key.scopes:
            raise Problem(403, f"this key is not for {needed}")
        if key.decimals is not None and route in ("/explain", "/predict/stream"):
            raise Problem(403, "this key is for rounded scores, which this route does not give")
        caller = self._callers.get(key.id)
        if caller is None:
            caller = self._callers[key.id] = Caller(key, self._workers)
        elif caller.key != key:
            caller.renew(key)
        request.caller = caller
        caller.spend_request()
        if key.texts_a_day is not None and route == "/predict/stream":
            raise Problem(403, "this key is for a number of texts a day: use /predict")
        length = request.header(b"content-length")
        if length is not None and length.isdigit():
            _check_size(key, int(length))

    def open(self, request: Request, body: bytes) -> bytes:
        caller = request.caller
        if isinstance(caller, Caller):
            _check_size(caller.key, len(body))
        if request.header(ENCRYPTION_HEADER) is not None and self._envelopes is not None:
            body = self._envelopes.open(request, body)
        if isinstance(caller, Caller) and request.scope["path"] != "/feedback":
            self._check_asked(caller, request.scope["path"], body)
        return body

    def _check_asked(self, caller: Caller, path: str, body: bytes) -> None:
        key = caller.key
        explains = "explain" in key.scopes and key.decimals is None
        if explains and key.texts_a_day is None and key.explanations_a_day is None:
            return
        try:
            asked = _ASKED.decode(body)
        except msgspec.MsgspecError:
            return  # the handler refuses it and says why
        if asked.explain and not explains:
            raise Problem(403, "this key is not for explanations", "explain")
        inputs = sum(len(tensor.data) for tensor in asked.inputs)
        texts = max(1, len(asked.texts) + inputs)
        caller.spend(texts, texts if asked.explain or path == "/explain" else 0)

    def seal(self, request: Request, response: Response) -> Response:
        caller = request.caller
        if isinstance(caller, Caller) and caller.key.decimals is not None and response.status == 200:
            response = _rounded(response, caller.key.decimals)
        return response if self._envelopes is None else self._envelopes.seal(request, response)


def guard_from_environment(workers: int) -> Access | None:
    """The guard that the supervisor, or a person, asks for by environment variables; None when they are not set."""
    keys, folder = os.environ.get(API_KEYS_VARIABLE), os.environ.get(ENVELOPES_VARIABLE)
    if not keys and not folder:
        return None
    envelopes = None
    if folder:
        # Imported here: who needs no encrypted requests does not pay for them.
        from bentos.text_classifier.envelope import Envelopes

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


def _check_size(key: ApiKey, size: int) -> None:
    if key.max_body_mb is not None and size > key.max_body_mb * 1e6:
        raise Problem(413, f"the body is larger than the {key.max_body_mb:g} MB that this key may send")


def _rounded(response: Response, decimals: int) -> Response:
    if (b"content-type", b"application/json") not in response.headers:
        return response
    content = msgspec.json.decode(response.body)
    return Response(response.status, msgspec.json.encode(_round(content, decimals)), response.headers)


def _round(value: Any, decimals: int) -> Any:
    """Scores in an answer, and whatever figures the inference protocol gives as data."""
    if isinstance(value, dict):
        return {
            key: round(one, decimals) if key == "score" and isinstance(one, float) else _round(one, decimals)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [round(one, decimals) if isinstance(one, float) else _round(one, decimals) for one in value]
    return value
