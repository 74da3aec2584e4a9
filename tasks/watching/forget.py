"""Forgetting a person: rows that name him leave what is stored; the versions trained on them are named.

What lies outside the state folder (the source itself, backups, exports) is not touched.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from bentos.text_classifier.manifest import SEALED
from tasks.base.errors import InputError
from tasks.base.files import write_whole
from tasks.base.manifests import Record
from tasks.data.personal_data import is_text, keyed_content
from tasks.data.sealed_files import MAGIC
from tasks.release.package import NAME, store

FORGOTTEN = "[forgotten]"
_LEAST = 4
_LINES = (".jsonl", ".csv")
_TEXTS = (".json", ".html", ".md", ".txt", ".log", "")


class Forgotten(Record):
    """What was done, paths below the state folder."""

    rows: dict[str, int]
    """Rows and lines that were removed, by file."""
    blanked: list[str]
    """Reports and manifests in which the values were blanked out."""
    remaining: list[str]
    """Files that hold a value and cannot be changed safely, such as databases, or may hold one and cannot be read, such
    as sealed ones: remove them by hand."""
    versions: list[str]
    """Bentos that were trained on removed rows: retrain, then remove them."""


def forget(values: Sequence[str], state: Path) -> Forgotten:
    """Removes every row below `state` in which one of `values` occurs, whatever its case.

    Args:
        values: what names the person: an address, a number, a name, or a pseudonym such as `email:3f9a0c51e2`.

    Raises:
        InputError: a value is so short that it would remove strangers' rows.
    """
    for value in values:
        if len(value.strip()) < _LEAST:
            raise InputError(f"{value!r} is too short to name one person: give at least {_LEAST} characters")
    pattern = re.compile("|".join(_forms(values)), re.IGNORECASE)
    rows: dict[str, int] = {}
    blanked, remaining, trained = [], [], set()
    for file in sorted(entry for entry in state.rglob("*") if entry.is_file() and not entry.is_symlink()):
        name = file.relative_to(state).as_posix()
        with file.open("rb") as stream:
            start = stream.read(max(len(SEALED), len(MAGIC)))
        # A sealed model's files hold vocabulary and statistics, no rows, and only the model's key opens them.
        if start.startswith(SEALED):
            continue
        if start.startswith(MAGIC):
            remaining.append(name)
            continue
        if file.suffix == ".parquet":
            try:
                removed = _without_rows(file, pattern)
            except pa.ArrowInvalid:
                remaining.append(name)
                continue
        elif file.suffix in _LINES:
            removed = _without_lines(file, pattern)
        else:
            removed = 0
            if file.suffix in _TEXTS and _blanked(file, pattern):
                blanked.append(name)
            elif _holds(file, pattern):
                remaining.append(name)
        if removed:
            rows[name] = removed
            trained.add(file.parent)
    contents = {content for folder in trained if (content := _content(folder))}
    # Versions that were trained within a privacy budget name their data by a keyed hash.
    contents |= {keyed_content(content, state) for content in contents}
    return Forgotten(rows=rows, blanked=blanked, remaining=remaining, versions=_versions(contents))


def _forms(values: Sequence[str]) -> list[str]:
    """The values as patterns, also as JSON and HTML spell them."""
    spelled = {form for value in values for form in (value.strip(), json.dumps(value.strip())[1:-1])}
    return [re.escape(form) for form in sorted(spelled)]


def _without_rows(file: Path, pattern: re.Pattern[str]) -> int:
    table = pq.read_table(file)
    kept = pa.array([True] * table.num_rows)
    for field in table.schema:
        if is_text(field.type):
            found = [value is not None and pattern.search(value) is not None for value in table[field.name].to_pylist()]
            kept = pc.and_(kept, pc.invert(pa.array(found, pa.bool_())))  # pyright: ignore[reportAttributeAccessIssue]
    left = table.filter(kept)
    if left.num_rows < table.num_rows:
        partial = file.with_name(f".{file.name}.forgetting")
        pq.write_table(left, partial, compression="zstd")
        partial.replace(file)
    return table.num_rows - left.num_rows


def _without_lines(file: Path, pattern: re.Pattern[str]) -> int:
    lines = file.read_text("utf-8", "surrogateescape").splitlines(keepends=True)
    left = [line for line in lines if not pattern.search(line)]
    if len(left) < len(lines):
        write_whole(file, "".join(left))
    return len(lines) - len(left)


def _blanked(file: Path, pattern: re.Pattern[str]) -> bool:
    try:
        text = file.read_text("utf-8")
    except UnicodeDecodeError:
        return False
    changed, count = pattern.subn(FORGOTTEN, text)
    if count:
        write_whole(file, changed)
    return bool(count)


def _holds(file: Path, pattern: re.Pattern[str]) -> bool:
    return pattern.search(file.read_bytes().decode("utf-8", "replace")) is not None


def _content(folder: Path) -> str | None:
    """The content hash of the stage whose folder this is."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return None
    described = json.loads(manifest.read_text("utf-8"))
    return described.get("content") if isinstance(described, dict) else None


def _versions(contents: set[str]) -> list[str]:
    """Tags of the stored bentos whose data is among `contents`; their labels hold its beginning."""
    found = []
    for described in sorted(store().glob("*/bento.yaml")):
        labels = (yaml.safe_load(described.read_text("utf-8")) or {}).get("labels") or {}
        data = str(labels.get("data", ""))
        if data and any(content.startswith(data) for content in contents):
            found.append(f"{NAME}:{described.parent.name}")
    return found
