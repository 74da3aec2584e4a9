"""A client that encrypts its requests to the service: `PrivateClient(url).predict(["a text"])`."""

import base64
import time
from types import TracebackType
from typing import Any

import httpx
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pyhpke import KEMKey

from bentos.text_classifier.envelope import (
    ANSWER_KEY_BYTES,
    EXPORTED,
    INFO,
    Envelope,
    PublishedKey,
    SealedAnswer,
    associated,
)
from bentos.text_classifier.key_pairs import suite
from bentos.text_classifier.network import ENCRYPTION_HEADER, KEYS_PATH


class PrivateClient:
    """Every text leaves encrypted for the service alone, and every answer comes back so.

    Args:
        url: the service's address, without a path.
        api_key: where the service asks for one.
        options: of `httpx.Client`, such as `verify` and `cert`.
    """

    def __init__(self, url: str, api_key: str | None = None, **options: Any) -> None:
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self._client = httpx.Client(base_url=url, headers=headers, **options)
        self._key: PublishedKey | None = None
        self._ahead = 0.0

    def __enter__(self) -> "PrivateClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def predict(self, texts: list[str], **options: Any) -> dict[str, Any]:
        """What `POST /predict` answers; see `ask`."""
        return self.ask("/predict", {"texts": texts, **options})

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to `body` at `path`.

        Raises:
            httpx.HTTPStatusError: the service refused; the message holds its reason, opened.
            ValueError: the answer was changed on its way.
        """
        envelope, answer_key = self.seal(path, msgspec.json.encode(body))
        headers = {"content-type": "application/json", ENCRYPTION_HEADER.decode(): "hpke"}
        response = self._client.post(path, content=envelope, headers=headers)
        content = response.content
        if response.headers.get(ENCRYPTION_HEADER.decode()) == "hpke":
            sealed = msgspec.json.decode(content, type=SealedAnswer)
            try:
                nonce, ciphertext = base64.b64decode(sealed.nonce), base64.b64decode(sealed.ciphertext)
                content = AESGCM(answer_key).decrypt(nonce, ciphertext, None)
            except InvalidTag as error:
                raise ValueError("the answer was changed on its way") from error
        elif response.is_success:
            raise ValueError("the answer is not encrypted")
        if not response.is_success:
            reason = f"{response.status_code}: {content.decode(errors='replace')}"
            raise httpx.HTTPStatusError(reason, request=response.request, response=response)
        return msgspec.json.decode(content)

    def seal(self, path: str, body: bytes) -> tuple[bytes, bytes]:
        """The encrypted request as it is sent, and the key that opens its answer."""
        key = self._current()
        public = X25519PublicKey.from_public_bytes(base64.b64decode(key.public_key))
        enc, context = suite.create_sender_context(KEMKey.from_pyca_cryptography_key(public), info=INFO)
        moment = int(time.time() + self._ahead)
        ciphertext = context.seal(body, aad=associated(path, moment))
        envelope = Envelope(key.key, moment, base64.b64encode(enc).decode(), base64.b64encode(ciphertext).decode())
        return msgspec.json.encode(envelope), context.export(EXPORTED, ANSWER_KEY_BYTES)

    def _current(self) -> PublishedKey:
        if self._key is None or time.time() + self._ahead > self._key.expires:
            answer = self._client.get(KEYS_PATH).raise_for_status()
            self._key = msgspec.json.decode(answer.content, type=PublishedKey)
            # The service's clock counts: this machine's may be wrong.
            self._ahead = self._key.now - time.time()
        return self._key
