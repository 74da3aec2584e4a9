"""Records kept as JSON lines, one after the other."""

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from tasks.base.manifests import Record

Kept = TypeVar("Kept", bound=Record)


def remembered(file: Path, kind: type[Kept]) -> list[Kept]:
    """The file's records in their order, none where it is not there; what another version of this program wrote and
    cannot be read is left out."""
    found = []
    for line in file.read_text("utf-8").splitlines() if file.exists() else ():
        try:
            found.append(kind.model_validate_json(line))
        except ValidationError:
            continue
    return found


def lines(records: list[Kept]) -> str:
    """What `remembered` reads back."""
    return "".join(record.model_dump_json() + "\n" for record in records)
