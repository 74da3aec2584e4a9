"""The key by which records name people and texts without naming them; it never leaves the records' folder."""

import secrets
from pathlib import Path

from bentos.serving.process import first_written

_KEY = "records.key"


def records_key(folder: Path) -> bytes:
    """The key of the folder's hashes: made by whichever process comes first, readable by its owner alone."""
    folder.mkdir(parents=True, exist_ok=True)
    return first_written(folder / _KEY, secrets.token_bytes(32))
