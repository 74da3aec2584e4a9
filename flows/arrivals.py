"""Notices that a source has changed: a file landed or grew, a table got rows."""

import glob
import json
from pathlib import Path

import sqlalchemy

from tasks.base.files import write_whole
from tasks.base.manifests import content_of

DATABASE = "://"


def fingerprint(source: str, query: str | None) -> str | None:
    """What changes when the source does: names, sizes and times of its files, or the number of its rows.

    None when there is nothing to watch: no file yet, or a source that cannot be asked cheaply.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database cannot be asked.
    """
    if DATABASE in source:
        return _rows(source, query) if query else None
    path = Path(source)
    found = sorted(path.rglob("*")) if path.is_dir() else [Path(name) for name in sorted(glob.glob(source))]  # noqa: PTH207 (absolute patterns)
    files = [file for file in found if file.is_file() and not file.name.startswith(".")]
    facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return content_of(facts) if facts else None


def _rows(source: str, query: str) -> str:
    engine = sqlalchemy.create_engine(source)
    try:
        with engine.connect() as connection:
            counted = f"SELECT count(*) FROM ({query.rstrip().rstrip(';')}) AS counted"
            return str(connection.execute(sqlalchemy.text(counted)).scalar_one())
    finally:
        engine.dispose()


class Watch:
    """Remembers fingerprints in a file; `changed` is true once for each change that has settled.

    A change counts when two looks in a row see the same new fingerprint, so that a file that is
    still being written starts nothing. The first look only remembers, be it that nothing was there yet.
    """

    def __init__(self, memory: Path) -> None:
        self.memory = memory
        self._unsettled: dict[str, str | None] = {}

    def changed(self, name: str, seen: str | None) -> bool:
        known = json.loads(self.memory.read_text()) if self.memory.exists() else {}
        first = name not in known
        if not first and (seen is None or known[name] == seen):
            self._unsettled.pop(name, None)
            return False
        settled = first or self._unsettled.get(name) == seen
        self._unsettled[name] = seen
        if not settled:
            return False
        write_whole(self.memory, json.dumps({**known, name: seen}))
        return not first
