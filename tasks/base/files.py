"""Files that appear whole or not at all."""

import os
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Writes a file so that a reader, or a crash at any moment, sees the old or the new one, never a part."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
