"""Every example of CONTRIBUTING.md is put where the page says, in a copy of the code, and its tests are run there.

A block is headed by its language and its file: a `python` block is the whole file, a `diff` block what changes in it.
"""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
LONGEST = 35
"""Lines of an example; whoever needs more shows how hard an addition is."""
COPIED = ("bentos", "data/expectations", "flows", "tasks", "tests")
KINDS_TESTS = "tests/tasks/kinds/test_contract.py"


class Block(NamedTuple):
    section: str
    language: str
    file: str
    lines: list[str]


def _blocks() -> list[Block]:
    found = []
    for section in PAGE.split("\n## ")[1:]:
        for language, file, code in re.findall(r"^```(\w+) (\S+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
            found.append(Block(section.partition("\n")[0], language, file, code.splitlines()))
    return found


BLOCKS = _blocks()
ADDED = [block for block in BLOCKS if block.language == "python"]
ADDED_TESTS = [block.file for block in ADDED if block.file.startswith("tests/")]


def patched(content: str, lines: list[str]) -> str:
    """`content` with the one place that reads as the kept and removed lines now reading as the kept and added ones."""
    before, after = ("".join(f"{line[1:]}\n" for line in lines if line[0] in marks) for marks in (" -", " +"))
    assert content.count(before) == 1, f"stands {content.count(before)} times in the file:\n{before}"
    return content.replace(before, after)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code with all examples of the page in it."""
    folder = tmp_path_factory.mktemp("copy")
    for name in COPIED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    for block in BLOCKS:
        file, code = folder / block.file, "".join(f"{line}\n" for line in block.lines)
        if block.language == "python":
            assert not file.exists(), f"{block.file} is there already: the page needs another example"
            assert file.parent.is_dir(), block.file
        file.write_text(code if block.language == "python" else patched(file.read_text("utf-8"), block.lines), "utf-8")
    return folder


def run(folder: Path, *command: str) -> None:
    # What pytest tells its workers is not meant for this one's child.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_has_a_short_example_for_every_registry() -> None:
    assert list(dict.fromkeys(block.section for block in BLOCKS)) == [
        "Add a model structure",
        "Add a format",
        "Add a kind of task",
        "Add a check of the gate",
        "Add an answer field",
        "Add an export",
    ]
    assert {block.file: len(block.lines) for block in BLOCKS if len(block.lines) >= LONGEST} == {}


def test_a_patch_that_fits_nowhere_or_twice_is_an_error() -> None:
    assert patched("a\nb\n", [" a", "-b", "+c"]) == "a\nc\n"
    for content in ("a\n", "a\nb\na\nb\n"):
        with pytest.raises(AssertionError, match="times in the file"):
            patched(content, [" a", "-b", "+c"])


def test_every_path_and_name_of_the_page_is_there() -> None:
    paths = re.findall(r"`((?:flows|tasks|bentos|tests|docs)/[\w/.-]*)`", PAGE)
    paths += re.findall(r"\]\(([\w/.-]+)[#)]", PAGE)
    assert len(paths) > 20
    assert [path for path in paths if not (ROOT / path).exists()] == []
    pairs = re.findall(r"`([A-Za-z_.]+)` in `([\w/]+\.py)`", PAGE)
    assert len(pairs) >= 6
    for name, path in pairs:
        for part in name.split("."):
            assert re.search(rf"\b{part}\b", (ROOT / path).read_text("utf-8")), f"{part} in {path}"


def test_the_rooms_stand_in_the_order_of_their_imports() -> None:
    rooms = re.findall(r"`(\w+)`", PAGE.partition("From top to bottom:")[2].partition("|")[0])
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = [one["layers"] for one in contracts if one.get("containers") == ["tasks"]]
    assert layers == [rooms]


@pytest.mark.slow
def test_examples_keep_to_the_rules_of_the_code(copy: Path) -> None:
    files = sorted({block.file for block in BLOCKS})
    run(copy, "ruff", "check", "--no-cache", *files)
    run(copy, "ruff", "format", "--no-cache", "--check", *files)


@pytest.mark.slow
def test_examples_do_what_their_tests_and_the_contract_ask(copy: Path) -> None:
    named = " or ".join(Path(file).stem for file in ADDED_TESTS)
    contract = "(gated and single or bag and rating) and not 300 or every_kind_has_all"
    run(copy, "pytest", "-p", "no:cacheprovider", *ADDED_TESTS, KINDS_TESTS, "-k", f"{named} or {contract}")
