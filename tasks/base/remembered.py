"""The last records of a kind, kept as JSON lines, one after the other."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from bentos.serving.records.appending import replacing, whole_lines
from tasks.base.manifests import Record

Kept = TypeVar("Kept", bound=Record)


def remembered(file: Path, kind: type[Kept]) -> list[Kept]:
    """The file's records in their order, none where it is not there; what another version of this program wrote and
    cannot be read is left out."""
    found = []
    for line in whole_lines(file):
        try:
            found.append(kind.model_validate_json(line))
        except ValidationError:
            continue
    return found


def remember(file: Path, kind: type[Kept], change: Callable[[list[Kept]], list[Kept]]) -> list[Kept]:
    """Puts what `change` makes of the file's records in their place; who changes the file at the same time waits."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as (_, after):
        kept = change(remembered(file, kind))
        after.writelines(f"{record.model_dump_json()}\n".encode() for record in kept)
    return kept
