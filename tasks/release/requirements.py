"""`bentos/text_classifier/requirements.txt`: the part of the project's lock that serving needs.

Run `python -m tasks.release.requirements` after a change of `requirements.in` there or of the lock.
"""

import re
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tasks.base.errors import InputError
from tasks.base.state import ROOT

LOCK = ROOT / "requirements.lock"
NEEDED = ROOT / "bentos" / "text_classifier" / "requirements.in"
SERVING = NEEDED.with_suffix(".txt")
_HEADER = "# The part of the project's lock that serving needs; made by: python -m tasks.release.requirements\n"


def serving_requirements(lock: Path = LOCK, needed: Path = NEEDED) -> str:
    """The lock's entries, hashes included, of the packages in `needed` and all that those need.

    What a package needs is read from its installed metadata.

    Raises:
        InputError: a needed package is not in the lock.
    """
    entries = locked(lock.read_text())
    roots = [Requirement(line) for line in needed.read_text().splitlines() if line and not line.startswith("#")]
    names = closure(roots)
    missing = sorted(names - entries.keys())
    if missing:
        raise InputError(f"{lock.name} does not pin {', '.join(missing)}, which serving needs: run `make lock`")
    return _HEADER + "".join(entries[name] for name in sorted(names))


def locked(lock: str) -> dict[str, str]:
    """A lock's entries by canonical name, each with its hashes and without comments."""
    lines = [line for line in lock.splitlines(keepends=True) if not line.lstrip().startswith("#")]
    entries = re.split(r"(?m)^(?=[A-Za-z0-9])", "".join(lines))
    return {canonicalize_name(re.split(r"[=\[ ;]", entry, maxsplit=1)[0]): entry for entry in entries if "==" in entry}


def closure(roots: list[Requirement]) -> set[str]:
    """Canonical names of `roots` and of everything they need on this platform."""
    found: set[str] = set()
    pending = [(canonicalize_name(root.name), frozenset(root.extras)) for root in roots]
    seen: set[tuple[str, frozenset[str]]] = set()
    while pending:
        name, extras = entry = pending.pop()
        if entry in seen:
            continue
        seen.add(entry)
        found.add(name)
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                pending.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return found


if __name__ == "__main__":
    SERVING.write_text(serving_requirements())
