"""The packaged bento serves by itself, where only the distributions of its requirements are installed.

The environment is a real virtual environment whose packages are links to the installed files of
exactly those distributions: what is not pinned for serving cannot be imported there.
"""

import json
import os
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest

from tasks.base.manifests import Package
from tasks.base.settings import ServeSettings
from tasks.deployment.supervisor import processes
from tasks.deployment.supervisor.listener import spare_port
from tasks.release.package import bento_source, package
from tasks.release.requirements import SERVING, locked
from tests.tasks.deployment.supervisor.bento import evaluation, known


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the service's requirements alone."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False, symlinks=True)
    packages = next((folder / "lib").glob("python3*")) / "site-packages"
    for name in locked(SERVING.read_text()):
        for file in metadata.distribution(name).files or []:
            if ".." not in file.parts:
                link = packages / file
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.locate())
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Package:
    folder = tmp_path_factory.mktemp("package")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(folder / "home"))
        return package(evaluation(folder), ServeSettings(workers=1), "card", {}, folder / "work", folder / "state")


@contextmanager
def served(python: Path, arguments: list[str], folder: Path, log: Path) -> Iterator[str]:
    """The address of a server that runs in the clean environment, once it is ready."""
    port = spare_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    environment |= {"PYTHONDONTWRITEBYTECODE": "1", "BENTOML_HOME": str(log.parent)}
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [str(python), *arguments, "--port", str(port)], cwd=folder, env=environment, stdout=stream, stderr=stream
        )
    try:
        _await_ready(f"http://127.0.0.1:{port}/readyz", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        processes.end([process.pid], grace=20)
        process.wait()


def _await_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 240
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=120):
                return
        except OSError:  # not listening yet, or no worker behind the port yet
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def _answers(url: str) -> tuple[str, list[str]]:
    body = json.dumps({"texts": [text for text, _ in known(1)]}).encode()
    request = urllib.request.Request(f"{url}/predict", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as response:
        answer = json.load(response)
    return answer["model"]["bento"], [prediction["label"] for prediction in answer["predictions"]]


@pytest.mark.parametrize("name", ["tensorflow", "keras", "prefect", "great_expectations", "pandas", "tasks", "flows"])
def test_the_environment_is_clean(python: Path, packed: Package, name: str) -> None:
    done = subprocess.run(
        [python, "-c", f"import {name}"], cwd=bento_source(packed.path), capture_output=True, text=True
    )
    assert f"No module named '{name}'" in done.stderr


def test_bentoml_serves_the_bento(python: Path, packed: Package, tmp_path: Path) -> None:
    with served(python, ["-m", "bentoml", "serve", str(packed.path)], tmp_path, tmp_path / "log") as url:
        assert _answers(url) == (packed.tag, [label for _, label in known(1)])


def test_a_supervised_worker_serves_the_same_answers(python: Path, packed: Package, tmp_path: Path) -> None:
    arguments = ["-m", "bentos.serving.worker", "text_classifier", "--bento", packed.tag]
    with served(python, arguments, bento_source(packed.path), tmp_path / "log") as url:
        assert _answers(url) == (packed.tag, [label for _, label in known(1)])


def test_every_requirement_of_a_requirement_is_installed(python: Path, packed: Package) -> None:
    check = (
        "from importlib.metadata import distributions, version\n"
        "from packaging.requirements import Requirement\n"
        "for one in distributions():\n"
        "    for line in one.requires or []:\n"
        "        need = Requirement(line)\n"
        "        if need.marker is None or need.marker.evaluate({'extra': ''}):\n"
        "            assert need.specifier.contains(version(need.name), prereleases=True), (one.name, line)\n"
    )
    done = subprocess.run([python, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sys.version_info[:2] == (3, 11)
