"""A client that encrypts its requests to the service: `PrivateClient(url).predict(["a text"])`.

For a program of your own to send, such as curl, two commands do the rest: `python -m bentos.serving.guard.client seal
URL KEY < BODY > ENVELOPE` keeps in the file KEY what `... open KEY < ANSWER` needs.
"""

import argparse
import base64
import ssl
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pyhpke import KEMKey

from bentos.serving.guard.envelope import (
    ANSWER_KEY_BYTES,
    EXPORTED,
    INFO,
    Envelope,
    PublishedKey,
    SealedAnswer,
    associated,
)
from bentos.serving.guard.network import ENCRYPTION_HEADER, KEYS_PATH
from bentos.serving.sealing.key_pairs import suite


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
            content = opened(content, answer_key)
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


def opened(answer: bytes, key: bytes) -> bytes:
    """The plain answer by the key that `PrivateClient.seal` gave for it.

    Raises:
        ValueError: it is no encrypted answer, or was changed on its way.
    """
    try:
        sealed = msgspec.json.decode(answer, type=SealedAnswer)
        nonce, ciphertext = base64.b64decode(sealed.nonce), base64.b64decode(sealed.ciphertext)
        return AESGCM(key).decrypt(nonce, ciphertext, None)
    except (InvalidTag, msgspec.MsgspecError) as error:
        raise ValueError("the answer was changed on its way, or is not encrypted") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """The two commands."""
    parser = argparse.ArgumentParser(prog="python -m bentos.serving.guard.client", description=__doc__)
    parser.add_argument("--ca", help="certificates (PEM) by which the service is known")
    commands = parser.add_subparsers(dest="command", required=True)
    sealing = commands.add_parser("seal", help="encrypt the body on standard input for URL")
    sealing.add_argument("url", type=httpx.URL, help="of the service, with the path that is asked")
    for command in (sealing, commands.add_parser("open", help="open the answer on standard input")):
        command.add_argument("key", type=Path, help="file of the key that opens the answer")
    options = parser.parse_args(arguments)
    if options.command == "open":
        sys.stdout.buffer.write(opened(sys.stdin.buffer.read(), options.key.read_bytes()))
        return
    verify = ssl.create_default_context(cafile=options.ca) if options.ca else True
    with PrivateClient(str(options.url.copy_with(path="/")), verify=verify) as client:
        envelope, key = client.seal(options.url.path, sys.stdin.buffer.read())
    options.key.unlink(missing_ok=True)
    options.key.touch(0o600)
    options.key.write_bytes(key)
    sys.stdout.buffer.write(envelope)


if __name__ == "__main__":
    main()
