"""The embedded default: docstring summaries from the standard library and installed packages.

Real English prose that is on every machine the project runs on: the first sentence of each docstring is the
text, the library it comes from the label. Files are parsed, never imported.
"""

import ast
import hashlib
import re
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from tasks.base.errors import InputError
from tasks.data.sources import Reading, register
from tasks.data.sources.batches import Batcher

ROWS = 8_000
_PACKAGES = (
    "PIL", "aiohttp", "asn1crypto", "cleanlab", "click", "cyclonedx", "dns", "graphql", "h5py", "opentelemetry",
    "pandas", "prefect", "pydantic", "redis", "sqlalchemy",
)  # fmt: skip
_SOURCE_CHARACTERS = 900_000
"""Read of one package, which bounds the seconds; which files, a hash of their names decides."""
_WORDS = (4, 60)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z`:*\"'(])|\n\s*\n")


class Docstrings:
    """Source `docstrings`: 16 libraries, about a thousand sentences from each large one."""

    name = "docstrings"
    rank = 0

    def claims(self, source: str) -> bool:
        return source == self.name

    def read(self, reading: Reading) -> Iterator[pa.RecordBatch]:
        found = [
            (text, library, source, line)
            for library, folder in _libraries()
            for text, source, line in _sentences(library, folder)
        ]
        if not found:
            raise InputError("docstrings: no Python source files are installed here; give a source of your own.")
        # A row's own hash decides whether it is drawn: the same rows on every machine with the same packages.
        found.sort(key=lambda row: hashlib.md5(f"{row[1]}\0{row[0]}\0{row[2]}\0{row[3]}".encode()).digest())
        rows = sorted(found[: reading.settings.rows or ROWS], key=lambda row: row[1:])
        batcher = Batcher(reading, self.name)
        for text, library, source, line in rows:
            if source != batcher.source:
                yield from batcher.flush()
                batcher.source = source
            batcher.add(line, text, library, *(None for _ in reading.settings.extra_columns))
        yield from batcher.flush()


def _libraries() -> Iterator[tuple[str, Path]]:
    paths = sysconfig.get_paths()
    yield "python", Path(paths["stdlib"])
    for package in _PACKAGES:
        if (folder := Path(paths["purelib"]) / package).is_dir():
            yield package.lower(), folder


def _sentences(library: str, folder: Path) -> Iterator[tuple[str, str, int]]:
    left = _SOURCE_CHARACTERS
    names = {path: path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}
    for path in sorted(names, key=lambda path: hashlib.md5(names[path].encode()).digest()):
        if re.search(r"(^|/)(_?tests?|site-packages|lib2to3|idlelib|_vendor)/", names[path]):
            continue
        try:
            code = path.read_text("utf-8")
            with warnings.catch_warnings(action="ignore"):
                tree = ast.parse(code)
        except (UnicodeDecodeError, SyntaxError):
            continue
        left -= len(code)
        for node in _documented(tree):
            text = _summary(ast.get_docstring(node))
            if text is not None:
                yield text, f"{library}/{names[path]}", getattr(node, "lineno", 1)
        if left < 0:
            return


def _documented(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """The module, its functions and classes, and the methods of these; what stands deeper is seldom documented."""
    waiting: list[ast.Module | ast.ClassDef] = [tree]
    while waiting:
        parent = waiting.pop()
        yield parent
        for node in parent.body:
            if isinstance(node, ast.ClassDef):
                waiting.append(node)
            elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield node


def _summary(docstring: str | None) -> str | None:
    """The first sentence, when it has 4 to 60 words."""
    sentence = " ".join(_SENTENCE_END.split(docstring or "", maxsplit=1)[0].split())
    return sentence if _WORDS[0] <= len(sentence.split()) <= _WORDS[1] else None


register(Docstrings())
