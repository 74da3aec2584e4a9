"""Model files encrypted at rest, opened in memory only.

Envelope encryption: every file of the model folder is sealed with AES-256-GCM under a data key of that
version alone, with the file's name as associated data, so that files can neither be changed, swapped
nor taken from another version. The data key lies beside them in `model.key`, wrapped by a key that is
kept elsewhere (`keys.py`). Rotation wraps the data key anew and touches no sealed file: a signature
over these stays good.
"""

import base64
import os
import secrets
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bentos.serving.model_folder import KEY_VARIABLE, SEALED, WRAPPED_KEY, ReadFile
from bentos.serving.sealing.keys import KEY_BYTES, NONCE_BYTES, KeyProvider, provider_of
from bentos.serving.sealing.problem import KeyProblem

_CONTEXT = b"model_service data key 1"


class WrappedKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`model.key`: `key` names the wrapping key, `wrapped` is the data key under it in base 64."""

    format: int
    key: str
    wrapped: str


class SealProblem(ValueError):
    """Sealed files that cannot be opened: a wrong or missing key, or bytes that were changed."""


def seal_folder(folder: Path, provider: KeyProvider) -> None:
    """Replaces every file of the model folder by its sealed form and writes `model.key`."""
    data_key = secrets.token_bytes(KEY_BYTES)
    cipher = AESGCM(data_key)
    for file in sorted(entry for entry in folder.rglob("*") if entry.is_file()):
        name = file.relative_to(folder).as_posix()
        nonce = secrets.token_bytes(NONCE_BYTES)
        file.write_bytes(SEALED + nonce + cipher.encrypt(nonce, file.read_bytes(), _bound(name)))
    _store(folder, data_key, provider)


def opened(folder: Path, source: str | None) -> ReadFile:
    """Reads sealed files of `folder` by name with the key from `source`, or from MODEL_SERVICE_KEY.

    Raises:
        SealProblem: no key, a wrong key, or `model.key` was changed; the reader raises it for a file.
    """
    source = source or os.environ.get(KEY_VARIABLE)
    if not source:
        raise SealProblem(f"{folder} is sealed and no key was given: set {KEY_VARIABLE} to file:PATH or env:NAME")
    try:
        cipher = AESGCM(_data_key(folder, provider_of(source)))
    except KeyProblem as error:
        raise SealProblem(f"the sealed model cannot be opened: {error}") from error

    def read(name: str) -> bytes:
        content = memoryview((folder / name).read_bytes())
        start = len(SEALED) + NONCE_BYTES
        if bytes(content[: len(SEALED)]) != SEALED:
            raise SealProblem(f"{name} is not sealed, while the model is: it was put there afterwards")
        try:
            return cipher.decrypt(content[len(SEALED) : start], content[start:], _bound(name))
        except (InvalidTag, ValueError) as error:
            raise SealProblem(f"{name} was changed, cut short or swapped since it was sealed") from error

    return read


def rewrap(folder: Path, old: KeyProvider, new: KeyProvider) -> None:
    """Wraps the data key of the sealed `folder` by `new` instead of `old`, in one atomic step.

    Raises:
        KeyProblem: `old` is not the key that wraps it.
        SealProblem: `model.key` is missing or damaged.
    """
    _store(folder, _data_key(folder, old), new)


def _data_key(folder: Path, provider: KeyProvider) -> bytes:
    try:
        wrapped = msgspec.json.decode((folder / WRAPPED_KEY).read_bytes(), type=WrappedKey)
        ciphertext = base64.b64decode(wrapped.wrapped, validate=True)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise SealProblem(f"{WRAPPED_KEY}, which holds the wrapped data key, is missing or damaged: {error}") from error
    if wrapped.key != provider.name:
        raise KeyProblem(f"it was sealed under key {wrapped.key}; the key given is {provider.name}")
    return provider.unwrap(ciphertext, _CONTEXT)


def _store(folder: Path, data_key: bytes, provider: KeyProvider) -> None:
    wrapped = base64.b64encode(provider.wrap(data_key, _CONTEXT)).decode()
    partial = folder / f".{WRAPPED_KEY}.{os.getpid()}"
    partial.write_bytes(msgspec.json.encode(WrappedKey(1, provider.name, wrapped)))
    partial.replace(folder / WRAPPED_KEY)


def _bound(name: str) -> bytes:
    return SEALED + name.encode()
