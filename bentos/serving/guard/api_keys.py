"""API keys: who may ask for what. Stored hashed, read again when the file changes, so that none needs a restart.

A token is `<id>.<secret>`. The secret holds 256 random bits, for which one SHA-256 is as good as a slow hash.
"""

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec

logger = logging.getLogger(__name__)

ApiScope = Literal["predict", "explain", "feedback", "admin"]
SCOPES: tuple[ApiScope, ...] = get_args(ApiScope)

_LOOK_SECONDS = 0.5
_NOBODY = hashlib.sha256(b"nobody").hexdigest()


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One caller. Limits are of the service as a whole, divided evenly among its workers."""

    id: str
    name: str
    hash: str
    """SHA-256 of the secret, hexadecimal."""
    scopes: tuple[ApiScope, ...]
    created: float
    expires: float | None = None
    """Seconds since 1970."""
    rate: float | None = None
    """Requests a second; bursts of two seconds' worth pass."""
    max_body_mb: float | None = None
    texts_a_day: int | None = None
    """Texts that may be asked for in 24 hours, against copying the model."""
    explanations_a_day: int | None = None
    """Explanations in 24 hours; each tells of many answers of the model."""
    decimals: int | None = None
    """Decimals that scores and explanations are rounded to, against copying the model; 0 leaves the label."""


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    keys: tuple[ApiKey, ...] = ()


def new_token() -> tuple[str, str, str]:
    """A fresh id, the token to hand out once, and the hash to keep."""
    key, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return key, f"{key}.{secret}", hashlib.sha256(secret.encode()).hexdigest()


def read_keys(file: Path) -> tuple[ApiKey, ...]:
    """The keys in `file`, none when it is missing; raises `msgspec.MsgspecError` when it is damaged."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=KeyFile).keys
    except FileNotFoundError:
        return ()


def dump_keys(keys: Sequence[ApiKey]) -> str:
    """The file's text."""
    return msgspec.json.format(msgspec.json.encode(KeyFile(tuple(keys))), indent=2).decode() + "\n"


class KeyRing:
    """The keys of a file as it is now. A missing or damaged file lets nobody in."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._keys: dict[str, ApiKey] = {}
        self._seen: tuple[int, int, int] | None = None
        self._looked = 0.0

    def find(self, token: str) -> ApiKey | None:
        """The key whose secret `token` holds; None when there is none, or it has expired or was revoked."""
        self._look()
        key_id, _, secret = token.partition(".")
        key = self._keys.get(key_id)
        digest = hashlib.sha256(secret.encode(errors="surrogateescape")).hexdigest()
        # Compared also when the id is unknown, so that time tells nothing.
        right = hmac.compare_digest(digest, key.hash if key else _NOBODY)
        if key is None or not right or (key.expires is not None and key.expires < time.time()):
            return None
        return key

    def _look(self) -> None:
        now = time.monotonic()
        if self._looked and now - self._looked < _LOOK_SECONDS:
            return
        self._looked = now
        try:
            found = self._file.stat()
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen != self._seen:
                self._keys = {key.id: key for key in read_keys(self._file)}
                self._seen = seen
        except (OSError, msgspec.MsgspecError) as error:
            if self._keys or self._seen is None:
                logger.error("no caller is let in: the API keys in %s cannot be read: %s", self._file, error)
            self._keys, self._seen = {}, (0, 0, 0)
