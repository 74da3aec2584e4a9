"""Known vulnerabilities of what a bento runs on, asked of pip-audit for whoever is online."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from tasks.base.errors import InputError, PipelineError
from tasks.release.sbom import SBOM

PACKAGE = "pip-audit==2.10.1"
_PROGRAM = (sys.executable, "-m", "pip_audit")
_OPTIONS = ("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off", "--timeout", "20")


class Vulnerability(NamedTuple):
    """One known vulnerability; `fixed` are the versions without it."""

    package: str
    version: str
    id: str
    fixed: list[str]


def audit(bento: Path, program: Sequence[str] = _PROGRAM) -> tuple[int, list[Vulnerability]]:
    """How many packages the bento's bill of materials names, and what is known against them.

    Raises:
        InputError: pip-audit is not installed, or the bento has no bill of materials.
        PipelineError: a package could not be checked: not one counts as harmless that nobody was asked about.
    """
    pinned = _pinned(bento)
    if program is _PROGRAM and find_spec("pip_audit") is None:
        raise InputError(f"the check needs pip-audit, which is not installed: pip install {PACKAGE}")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as requirements:
        requirements.write("".join(f"{name}=={version}\n" for name, version in pinned.items()))
        requirements.flush()
        command = [*program, "--requirement", requirements.name, *_OPTIONS]
        done = subprocess.run(command, capture_output=True, text=True)
    try:
        answered = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError) as error:
        reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise PipelineError(f"{bento.name} was not checked: {reason[:300]} Is this machine online?") from error
    checked = {entry["name"]: entry for entry in answered if "vulns" in entry}
    if missing := sorted(pinned.keys() - checked.keys()):
        raise PipelineError(
            f"{bento.name}: {len(missing)} of {len(pinned)} packages could not be checked, {missing[0]} among them;"
            " is this machine online, and does its package index know of vulnerabilities?"
        )
    return len(pinned), [found for entry in checked.values() for found in _vulnerabilities(entry)]


def _pinned(bento: Path) -> dict[str, str]:
    try:
        components = json.loads((bento / SBOM).read_text("utf-8"))["components"]
        return {part["name"]: part["version"] for part in components}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{bento.name} has no bill of materials ({SBOM}): package it anew.") from error


def _vulnerabilities(entry: dict[str, Any]) -> list[Vulnerability]:
    return [Vulnerability(entry["name"], entry["version"], one["id"], one["fix_versions"]) for one in entry["vulns"]]
