"""A model folder as the core knows it: `model.json` with name, version and lineage, a card, sealed or not.

Whatever else lies in it, and stands in `model.json`, is the kind of service's own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

MANIFEST = "model.json"
CARD = "MODEL_CARD.md"

SEALED = b"sealed-1\n"
"""How every file of an encrypted model folder begins; see `sealing/folder.py`."""
WRAPPED_KEY = "model.key"
KEY_VARIABLE = "MODEL_SERVICE_KEY"
"""Names the source of the key that opens a sealed model."""

ReadFile = Callable[[str], bytes]
"""The bytes of a file of a model folder, by its name there."""


class ModelError(Exception):
    """A model folder that cannot be opened; the message names the file and the reason."""


def is_sealed(folder: Path) -> bool:
    """Whether the folder's files are encrypted."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        return False
    with manifest.open("rb") as stream:
        # `model.key` counts too, since the first bytes of the manifest may have been changed.
        return stream.read(len(SEALED)) == SEALED or (folder / WRAPPED_KEY).exists()


def reader(folder: Path, key: str | None = None) -> ReadFile:
    """Reads the folder's files, opened in memory by the key that `key`, else MODEL_SERVICE_KEY, names where sealed.

    Raises:
        sealing.folder.SealProblem: it is sealed, and there is no key or a wrong one.
    """
    if is_sealed(folder):
        # Imported here: who encrypts nothing does not pay for it.
        from bentos.serving.sealing.folder import opened

        return opened(folder, key)
    return lambda name: (folder / name).read_bytes()


def describe(folder: Path, **changes: Any) -> None:
    """Changes fields of the folder's plain `model.json`: name, version, lineage. What else is there stays."""
    file = folder / MANIFEST
    content = msgspec.json.decode(file.read_bytes()) | changes
    file.write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def model_name(folder: Path, key: str | None = None) -> str:
    """The name that the folder's `model.json` gives the model; `model` where it gives none.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        return msgspec.json.decode(reader(folder, key)(MANIFEST)).get("name") or "model"
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"the model folder cannot be read: {error}") from error


def lineage(folder: Path) -> dict[str, str]:
    """Content hashes by stage, as the folder's plain `model.json` has them."""
    return msgspec.json.decode((folder / MANIFEST).read_bytes()).get("lineage", {})
