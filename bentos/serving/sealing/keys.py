"""Where the key comes from that protects the data key of a sealed model or file: a file, a variable, a KMS.

A source is written `file:PATH`, `env:NAME` or `SCHEME:REST`, where SCHEME is an entry point of the group
`model_service.key_providers` of an installed package: a callable from REST to a `KeyProvider`. A file or variable
holds a 256-bit key, which both seals and opens, or half of a key pair in PEM (`key_pairs.py`).
"""

import base64
import binascii
import hashlib
import os
import secrets
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bentos.serving.sealing.problem import KeyProblem

KEY_BYTES = 32
NONCE_BYTES = 12
PROVIDERS = "model_service.key_providers"


class KeyProvider(Protocol):
    """What a KMS offers: it wraps small secrets and never gives its own key away."""

    name: str
    """Tells this key from others in messages; no secret."""

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """The secret, encrypted and bound to `context`."""
        ...

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """What was wrapped with the same context; raises `KeyProblem` when it is not this key's, or was changed."""
        ...


class LocalKey:
    """A 256-bit key in this process's memory: AES-256-GCM with a random nonce before the ciphertext."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self.name = hashlib.sha256(b"key name\0" + key).hexdigest()[:12]

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        nonce = secrets.token_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, secret, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        try:
            return self._cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], context)
        except (InvalidTag, ValueError) as error:
            raise KeyProblem(f"key {self.name} is not the one that this was encrypted with") from error


def provider_of(source: str) -> KeyProvider:
    """The provider that `source` names.

    Raises:
        KeyProblem: the source is unknown, or holds neither a 256-bit key nor an X25519 key.
    """
    scheme, found, rest = source.partition(":")
    if not found or not rest:
        raise KeyProblem(f"{scheme!r} names no key: write file:PATH or env:NAME")
    if scheme == "file":
        try:
            return _key_in(Path(rest).read_text("ascii"), source)
        except (OSError, UnicodeDecodeError) as error:
            raise KeyProblem(
                f"the key in {rest} cannot be read: {getattr(error, 'strerror', None) or error}"
            ) from error
    if scheme == "env":
        text = os.environ.get(rest)
        if not text:
            raise KeyProblem(f"the environment variable {rest}, which should hold the key, is not set")
        return _key_in(text, source)
    for entry in entry_points(group=PROVIDERS, name=scheme):
        return entry.load()(rest)
    raise KeyProblem(f"no installed package provides keys from {scheme!r}; file:PATH and env:NAME are always there")


def new_key() -> str:
    """A fresh random key as a file or a variable holds it."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def _key_in(text: str, source: str) -> KeyProvider:
    text = text.strip()
    if text.startswith("-----BEGIN"):
        # Imported here: a single key needs no HPKE.
        from bentos.serving.sealing.key_pairs import key_pair

        return key_pair(text.encode(), source)
    return LocalKey(_decoded(text, source))


def _decoded(text: str, source: str) -> bytes:
    try:
        key = bytes.fromhex(text) if len(text) == 2 * KEY_BYTES else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise KeyProblem(f"{source} holds no key of {KEY_BYTES} bytes in base 64 or hexadecimal: make one with"
                         f" `openssl rand -base64 {KEY_BYTES}`")  # fmt: skip
    return key
