"""Forgetting a person: rows that name him leave what is stored; the versions trained on them are named.

Each file is rewritten by its format (`formats.py`), and then everything is searched a second time: what is still found,
and what could not be looked into, is named. What lies outside the state folder (the source itself, backups, exports)
is not touched.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import yaml

from bentos.serving.model_folder import SEALED
from bentos.serving.records.appending import replacing
from tasks.base.errors import InputError
from tasks.base.manifests import Record
from tasks.data.personal_data import keyed_content
from tasks.data.sealed_files import MAGIC
from tasks.release.package import NAME, bento_model, store
from tasks.watching.forget.formats import Format, Unreadable, blank_in_place, erased, format_of, holds_anywhere
from tasks.watching.forget.sought import Fixed, Sought

_LEAST = 4
_START = max(len(SEALED), len(MAGIC), 16)


class Forgotten(Record):
    """What was done, paths below the state folder."""

    rows: dict[str, int]
    """Rows and lines that were removed, by file."""
    blanked: list[str]
    """Reports, manifests and logs in which the values were blanked out."""
    remaining: list[str]
    """Files in which a second search found a value, such as databases: remove them, or the rows in them, by hand."""
    unread: dict[str, str]
    """Files that may hold a value and could not be looked into, and why."""
    versions: list[str]
    """Bentos that were trained on removed rows, or hold a value: retrain, then remove them."""


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
    sought = Sought(values)
    rows: dict[str, int] = {}
    blanked, trained = [], set()
    for file in _files(state):
        try:
            form, found = _erase(file, sought)
        except (Unreadable, Fixed, FileNotFoundError):
            # What is left of it the second search says.
            continue
        name = file.relative_to(state).as_posix()
        if found and form and form.rows:
            rows[name] = found
            trained.add(file.parent)
        elif found:
            blanked.append(name)
    remaining, unread = _search(state, sought)
    contents = {content for folder in trained if (content := _content(folder))}
    # Versions that were trained within a privacy budget name their data by a keyed hash.
    contents |= {keyed_content(content, state) for content in contents}
    return Forgotten(
        rows=rows, blanked=blanked, remaining=remaining, unread=unread, versions=_versions(contents, sought)
    )


def _files(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.rglob("*") if entry.is_file() and not entry.is_symlink())


def _form(file: Path) -> Format | None:
    """How the file is read; None where only its bytes can be searched.

    Raises:
        Unreadable: it is sealed, or compressed in a foreign way.
    """
    with file.open("rb") as stream:
        start = stream.read(_START)
    if start.startswith(MAGIC):
        raise Unreadable("it is sealed")
    # A sealed model's files hold vocabulary and statistics, no rows, and only the model's key opens them.
    return format_of(file.name, start) if start and not start.startswith(SEALED) else None


def _erase(file: Path, sought: Sought) -> tuple[Format | None, int]:
    form = _form(file)
    found = _found(file, form, sought) if form else 0
    if form is None or not found:
        return form, 0
    if form.in_place:
        return form, blank_in_place(file, sought)
    with replacing(file) as (before, after):
        return form, erased(form, before, after, sought)


def _found(file: Path, form: Format, sought: Sought) -> int:
    with file.open("rb") as stream:
        return erased(form, stream, None, sought)


def _search(folder: Path, sought: Sought) -> tuple[list[str], dict[str, str]]:
    """The files below `folder` that hold what is sought, and those that cannot be looked into with the reason."""
    holding: list[str] = []
    unread: dict[str, str] = {}
    for file in _files(folder):
        name = file.relative_to(folder).as_posix()
        try:
            if sought.holds(name) or _holds(file, sought):
                holding.append(name)
        except Fixed:
            holding.append(name)
        except Unreadable as error:
            unread[name] = str(error)
        except FileNotFoundError:
            # A running system removes files.
            continue
    return holding, unread


def _holds(file: Path, sought: Sought) -> bool:
    if holds_anywhere(file, sought):
        return True
    form = _form(file)
    if form is None:
        return False
    return _found(file, form, sought) > 0 or (form.text and sought.in_unescaped(file.read_bytes()))


def _content(folder: Path) -> str | None:
    """The content hash of the stage whose folder this is."""
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return None
    described = json.loads(manifest.read_text("utf-8"))
    return described.get("content") if isinstance(described, dict) else None


def _versions(contents: set[str], sought: Sought) -> list[str]:
    """Tags of the stored bentos whose data is among `contents`, or whose model's files hold what is sought."""
    bentos = sorted(described.parent for described in store().glob("*/bento.yaml"))
    return [
        f"{NAME}:{bento.name}"
        for bento in bentos
        if _trained_on(bento, contents) or any(_search(bento_model(bento), sought)[:1])
    ]


def _trained_on(bento: Path, contents: set[str]) -> bool:
    labels = (yaml.safe_load((bento / "bento.yaml").read_text("utf-8")) or {}).get("labels") or {}
    # A label holds the beginning of its data's hash.
    data = str(labels.get("data", ""))
    return bool(data) and any(content.startswith(data) for content in contents)
