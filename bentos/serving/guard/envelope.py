"""Requests encrypted beyond TLS: HPKE (RFC 9180), so that proxies, logs and queues see no text.

The service publishes a public key that lives an hour. A client encrypts its body to it and binds the
envelope to path and time; the answer comes back under a secret that both sides export from the same
HPKE context, as Oblivious HTTP (RFC 9458) does. An envelope is opened once: of a second one with the
same encapsulated key, on whichever worker, nothing is opened.

Key files lie in one folder, one a period, shared by the workers and removed when their time is over:
what was recorded on the way cannot be opened afterwards.
"""

import base64
import hashlib
import logging
import os
import secrets
import shutil
import threading
import time
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Meta
from pyhpke import KEMKey
from pyhpke.exceptions import PyHPKEError

from bentos.serving.guard.network import ENCRYPTION_HEADER, KEYS_PATH
from bentos.serving.http.asgi import JSON_TYPE, Request, Response
from bentos.serving.http.problems import Problem
from bentos.serving.http.wire import decode
from bentos.serving.process import first_written
from bentos.serving.sealing.key_pairs import suite

logger = logging.getLogger(__name__)

PERIOD_SECONDS = 3600
"""How long a key is published; it opens for one period more."""
WINDOW_SECONDS = 120
"""How far a request's time may lie from the service's."""
SUITE = "DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM"
INFO = b"model_service request 1"
EXPORTED = b"model_service response 1"
ANSWER_KEY_BYTES = 32

_TIDY_SECONDS = 60.0
_ANSWER_KEY = "model_service.answer_key"


class PublishedKey(msgspec.Struct, frozen=True):
    """`GET /keys`: `public_key` is an X25519 key, 32 bytes in base 64; `expires` in seconds since 1970."""

    key: str
    suite: str
    public_key: str
    expires: int
    now: int


class Envelope(msgspec.Struct, frozen=True):
    """An encrypted request. `time` is in seconds since 1970; the others are in base 64."""

    key: str
    time: Annotated[int, Meta(ge=0, le=2**40)]
    enc: str
    ciphertext: str


_ENVELOPE = msgspec.json.Decoder(Envelope)


class SealedAnswer(msgspec.Struct, frozen=True):
    """An encrypted answer, AES-256-GCM under the exported secret; both fields in base 64."""

    nonce: str
    ciphertext: str


def associated(path: str, moment: int) -> bytes:
    """What an envelope is bound to."""
    return f"{path}\n{moment}".encode()


class Envelopes:
    """Opens requests and seals answers; `folder` is shared by the workers that answer for each other."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        # Also while nobody asks, and what an earlier life of the service left.
        threading.Thread(target=self._tidy, name="envelope keys", daemon=True).start()

    def published(self) -> PublishedKey:
        """The key to encrypt to now."""
        now = int(time.time())
        period = now // PERIOD_SECONDS
        public = self._key(period).public_key().public_bytes_raw()
        expires = (period + 1) * PERIOD_SECONDS
        return PublishedKey(str(period), SUITE, base64.b64encode(public).decode(), expires, now)

    def open(self, request: Request, body: bytes) -> bytes:
        """The plain body.

        Raises:
            Problem: 400 when it cannot be opened, 409 when it is not new, 422 for a wrong or missing field.
        """
        envelope = decode(body, _ENVELOPE)
        try:
            enc = base64.b64decode(envelope.enc, validate=True)
            ciphertext = base64.b64decode(envelope.ciphertext, validate=True)
            period = int(envelope.key)
        except ValueError as error:
            raise Problem(400, "no encrypted request: enc and ciphertext are base 64, key is one of ours") from error
        now = time.time()
        if abs(now - envelope.time) > WINDOW_SECONDS:
            raise Problem(409, f"the request's time is more than {WINDOW_SECONDS} s away from the service's", "time")
        current = int(now) // PERIOD_SECONDS
        if not current - 1 <= period <= current:
            raise Problem(409, f"this key is not in use: GET {KEYS_PATH} names the one that is", "key")
        try:
            context = suite.create_recipient_context(
                enc, KEMKey.from_pyca_cryptography_key(self._key(period)), info=INFO
            )
            plain = context.open(ciphertext, aad=associated(request.scope["path"], envelope.time))
        except (PyHPKEError, ValueError) as error:
            raise Problem(400, "the request cannot be opened: it was changed, or encrypted for another key") from error
        self._once(envelope.time, enc)
        request.scope[_ANSWER_KEY] = context.export(EXPORTED, ANSWER_KEY_BYTES)
        return plain

    def seal(self, request: Request, response: Response) -> Response:
        """The response, encrypted when its request was."""
        key = request.scope.get(_ANSWER_KEY)
        if key is None:
            return response
        nonce = secrets.token_bytes(12)
        ciphertext = AESGCM(key).encrypt(nonce, response.body, None)
        answer = SealedAnswer(base64.b64encode(nonce).decode(), base64.b64encode(ciphertext).decode())
        headers = [header for header in response.headers if header[0] != b"content-type"]
        return Response(
            response.status, msgspec.json.encode(answer), [*headers, JSON_TYPE, (ENCRYPTION_HEADER, b"hpke")]
        )

    def _key(self, period: int) -> X25519PrivateKey:
        """The period's key; of several workers that make one at the same time, the first one's.

        Read anew each time: after a step of the clock a file may have been removed and made again.
        """
        return X25519PrivateKey.from_private_bytes(
            first_written(self._folder / f"{period}.key", secrets.token_bytes(32))
        )

    def _tidy(self) -> None:
        pause = threading.Event()
        while True:
            try:
                self.forget()
            except OSError:
                logger.exception("keys of encrypted requests that are over cannot be removed yet")
            pause.wait(_TIDY_SECONDS)

    def forget(self) -> None:
        """Removes keys that are over, or of a future that a wrong clock had shown, and marks of old envelopes."""
        period = int(time.time()) // PERIOD_SECONDS
        for file in self._folder.glob("*.key"):
            # The next one may be another worker's, whose clock is read a moment later.
            if not period - 1 <= int(file.stem) <= period + 1:
                file.unlink(missing_ok=True)
        for folder in self._folder.glob("opened/*"):
            if int(folder.name) < time.time() // WINDOW_SECONDS - 2:
                shutil.rmtree(folder, ignore_errors=True)

    def _once(self, moment: int, enc: bytes) -> None:
        """Marks the envelope in a folder of its time, kept as long as the time is accepted."""
        mark = self._folder / "opened" / str(moment // WINDOW_SECONDS) / hashlib.sha256(enc).hexdigest()
        try:
            os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileNotFoundError:
            mark.parent.mkdir(parents=True, exist_ok=True)
            self._once(moment, enc)
        except FileExistsError:
            raise Problem(409, "this request was sent before: encrypt it anew") from None
