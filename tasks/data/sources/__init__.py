"""Where labelled texts come from: one file a kind of source, found by importing this package's modules.

A source gives its rows as Arrow batches of one schema, so that a file of any size is never held whole.
A row that cannot be used travels in the same stream with the reason it cannot.
"""

import importlib
import pkgutil
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from tasks.base.errors import InputError
from tasks.base.settings import SourceSettings

_USER = re.compile(r"(?<=://)(?:[^/:@]*:[^@]*|[^/@]*)@(?:[^/@]*@)*")
_SECRET = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token|key|sig|odbc_connect)[^=&]*=)[^&]*", re.IGNORECASE)

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgtKMGT])i?[bB]\s*")
_USUAL_MEMORY = 2e9
_BYTES_A_CHARACTER = 32

OWN_COLUMNS = ("text", "label", "form", "source", "line", "reason")


@dataclass
class Reading:
    """One reading of a source: what was asked for, a scratch folder, and what is found out on the way.

    Without `labelled` no column of labels is looked for; what stands as the label then means nothing.
    """

    settings: SourceSettings
    scratch: Path
    labelled: bool = True
    text_column: str = "text"
    label_column: str = "label"
    notes: list[str] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)

    def note(self, text: str) -> None:
        """Keeps something a person should know, once."""
        if text not in self.notes:
            self.notes.append(text)

    def told(self) -> list[str]:
        """The notes, and how often what was `counted` was met, which is known when all is read."""
        return [*self.notes, *(f"{count:,} {what}" for what, count in self.counted.items())]

    @property
    def longest_line(self) -> int:
        """Characters of a line, or of a row, that are held: a copy for each step still fits into the memory."""
        found = _SIZE.fullmatch(self.settings.memory)
        # What is no size is refused where the memory is set.
        size = float(found[1]) * 1000 ** ("kmgt".index(found[2].lower()) + 1) if found else _USUAL_MEMORY
        return int(size / _BYTES_A_CHARACTER)

    @property
    def schema(self) -> pa.Schema:
        """`label` is the class name (form null), or JSON: a list of names (`list`) or of spans (`spans`)."""
        extra = [(name, pa.string()) for name in self.settings.extra_columns]
        return pa.schema(
            [
                ("text", pa.large_string()),
                ("label", pa.large_string()),
                ("form", pa.string()),
                ("source", pa.string()),
                ("line", pa.int64()),
                ("reason", pa.string()),
                *extra,
            ]
        )


class Source(Protocol):
    """A kind of source."""

    name: str
    rank: int
    """Sources are asked in this order whether a name is theirs."""

    def claims(self, source: str) -> bool:
        """Whether `source` names one of this kind."""
        ...

    def read(self, reading: Reading) -> Iterator[pa.RecordBatch]:
        """Batches of `reading.schema`; raises InputError when there is nothing to read."""
        ...


def shown(source: str) -> str:
    """The name of a source without the user, password and keys that its URL may hold, for people and logs."""
    return _SECRET.sub(r"\1***", _USER.sub("", source)) if "://" in source else source


def check_query(query: str | None, *sources: str | None) -> None:
    """Refuses a query that none of the sources would be asked.

    Raises:
        InputError: there is a query, and no database.
    """
    if query and not any(source and source_of(source).name == "database" for source in sources):
        raise InputError(f"--query: {shown(str(sources[0]))} is no database that could be asked; leave it out.")


_REGISTRY: dict[str, Source] = {}


def register(source: Source) -> Source:
    """Makes a kind of source available."""
    _REGISTRY[source.name] = source
    return source


def source_of(name: str) -> Source:
    """The kind of source that `name` stands for."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    for source in sorted(_REGISTRY.values(), key=lambda kind: kind.rank):
        if source.claims(name):
            return source
    raise InputError(f"{name!r} is no source: give a file, folder, glob, `-`, URL, or `docstrings`.")


def columns_of(settings: SourceSettings, scratch: Path) -> tuple[str, str]:
    """The columns of texts and of labels, found as a reading finds them; only the first rows are read.

    Raises:
        InputError: there is no such source, or its columns cannot be told.
    """
    reading = Reading(settings, scratch)
    for _ in source_of(settings.source).read(reading):
        break
    return reading.text_column, reading.label_column
