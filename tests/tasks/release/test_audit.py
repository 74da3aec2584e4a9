"""A bento counts as checked only when every package was: what pip-audit skipped is no good news."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tasks.base.errors import InputError, PipelineError
from tasks.data import person_names
from tasks.release import audit as module
from tasks.release.audit import Vulnerability, audit
from tasks.release.sbom import write_sbom
from tests.conftest import ROOT

PINNED = {"alpha": "1.0", "beta-gamma": "2.1"}


@pytest.fixture
def bento(tmp_path: Path) -> Path:
    folder = tmp_path / "v1"
    (folder / "env" / "python").mkdir(parents=True)
    lines = [f"{name}=={version} \\\n    --hash=sha256:{'0' * 64}\n" for name, version in PINNED.items()]
    (folder / "env" / "python" / "requirements.txt").write_text("".join(lines))
    write_sbom(folder, "text_classifier:v1", "0" * 64)
    return folder


def program(folder: Path, *entries: dict[str, Any], error: str = "", status: int = 0) -> list[str]:
    """Stands in for pip-audit: keeps what it was asked and gives the answer."""
    answer = json.dumps({"dependencies": entries, "fixes": []}) if entries else ""
    (folder / "program.py").write_text(
        "import pathlib, sys\n"
        f"asked = pathlib.Path(sys.argv[sys.argv.index('--requirement') + 1]).read_text()\n"
        f"pathlib.Path({str(folder / 'asked')!r}).write_text(asked)\n"
        f"print({answer!r}); print({error!r}, file=sys.stderr); sys.exit({status})\n"
    )
    return [sys.executable, str(folder / "program.py")]


def entry(name: str, *vulnerabilities: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "version": PINNED[name], "vulns": list(vulnerabilities)}


def test_every_package_of_the_bill_of_materials_is_asked_about(bento: Path, tmp_path: Path) -> None:
    assert audit(bento, program(tmp_path, *map(entry, PINNED))) == (2, [])
    assert (tmp_path / "asked").read_text() == "alpha==1.0\nbeta-gamma==2.1\n"


def test_what_is_known_is_told_with_its_remedy(bento: Path, tmp_path: Path) -> None:
    known = {"id": "PYSEC-1", "fix_versions": ["1.1"], "aliases": [], "description": "bad"}
    asked = program(tmp_path, entry("alpha", known), entry("beta-gamma"), status=1)
    assert audit(bento, asked) == (2, [Vulnerability("alpha", "1.0", "PYSEC-1", ["1.1"])])


def test_a_package_that_was_skipped_was_not_checked(bento: Path, tmp_path: Path) -> None:
    skipped = {"name": "alpha", "skip_reason": "Dependency not found on PyPI and could not be audited"}
    with pytest.raises(PipelineError, match="v1: 1 of 2 packages could not be checked, alpha among them; is this"):
        audit(bento, program(tmp_path, skipped, entry("beta-gamma")))


def test_offline_the_reason_is_one_message(bento: Path, tmp_path: Path) -> None:
    offline = program(tmp_path, error="many lines\nERROR: the service cannot be reached.", status=1)
    with pytest.raises(PipelineError, match=r"v1 was not checked: ERROR: the service cannot be reached\. Is this"):
        audit(bento, offline)


def test_without_the_program_or_the_bill_it_is_said(
    bento: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs pip-audit, which is not installed: pip install pip-audit=="):
        audit(bento)
    (bento / "sbom.cdx.json").unlink()
    with pytest.raises(InputError, match=r"v1 has no bill of materials \(sbom\.cdx\.json\): package it anew"):
        audit(bento)


def test_the_versions_named_are_those_of_the_project() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert (extras["names"], extras["audit"]) == ([person_names.PACKAGE], [module.PACKAGE])
