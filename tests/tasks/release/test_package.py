import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from bentos import telemetry
from bentos.serving.cpus import share
from bentos.serving.model_folder import MANIFEST
from bentos.serving.settings import SETTINGS
from bentos.text_classifier import manifest
from bentos.text_classifier.model import TextModel
from tasks.base.errors import DeploymentError
from tasks.base.manifests import Package
from tasks.base.settings import ServeSettings
from tasks.release import package as packaging
from tasks.release.ownership import Packaged, packaged
from tasks.release.package import CARD, IN_BENTO, bento_model, bento_source, package
from tests.tasks.deployment.supervisor.bento import evaluation, known

LINEAGE = {"data": "1" * 64, "code": "2" * 64, "model": "3" * 64}
HADOLINT = shutil.which("hadolint", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
SERVE = ServeSettings(workers=2, threads=1, max_texts=77, cpu=1.5, memory="2Gi")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bentoml")


@pytest.fixture(scope="module")
def packed(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Package:
    folder = tmp_path_factory.mktemp("package")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        return package(evaluation(folder), SERVE, "# The card", LINEAGE, folder / "work", home / "state")


def test_the_bento_lies_in_the_store_under_its_time_and_content(home: Path, packed: Package) -> None:
    name, _, version = packed.tag.partition(":")
    assert packed.path == home / "bentos" / name / version
    assert version.endswith("-" + packed.content[:8])
    assert (packed.path / "bento.yaml").is_file()
    assert (packed.path.parent / "latest").read_text() == version


def test_bentoml_lists_it(home: Path, packed: Package) -> None:
    command = [sys.executable, "-m", "bentoml", "list", "--output", "json"]
    listed = subprocess.run(
        command, env=os.environ | {"BENTOML_HOME": str(home)}, capture_output=True, text=True, check=True
    )
    assert [entry["tag"] for entry in json.loads(listed.stdout)] == [packed.tag]


def test_model_card_settings_and_lineage_are_inside(packed: Package) -> None:
    model = bento_model(packed.path)
    described = manifest.parse((model / MANIFEST).read_bytes())
    assert described.lineage == LINEAGE | {"bento": packed.content}
    assert packed.tag == f"text_classifier:{described.version}"
    assert (model / CARD).read_text() == "# The card"
    settings = json.loads((bento_source(packed.path) / IN_BENTO / SETTINGS).read_text())
    assert settings["max_texts"] == 77
    assert settings["workers"] == 2


def test_the_platform_is_asked_for_what_the_settings_say(packed: Package) -> None:
    described = yaml.safe_load((packed.path / "bento.yaml").read_text())
    config = described["services"][0]["config"]
    assert config["resources"] == {"cpu": "1.5", "memory": "2Gi"}
    assert config["workers"] == share(2, 1)[0]


def test_the_model_inside_answers_as_the_evaluated_one(packed: Package) -> None:
    texts = [text for text, _ in known(1)]
    answers = TextModel.load(bento_model(packed.path)).predict(texts)
    assert [one.label for one in answers] == [label for _, label in known(1)]


def test_the_same_inputs_give_the_same_content(
    packed: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    again = package(evaluation(tmp_path), SERVE, "# The card", LINEAGE, tmp_path / "work", tmp_path / "state")
    assert again.content == packed.content


def test_a_bento_is_noted_as_the_state_s_own_before_it_is_in_the_store(
    packed: Package, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert packaged(home / "state") == [Packaged(tag=packed.tag, path=packed.path)]

    def killed(built: Path, name: str) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.setattr(packaging, "_place", killed)
    with pytest.raises(KeyboardInterrupt):
        package(evaluation(tmp_path), SERVE, "# The card", LINEAGE, tmp_path / "work", tmp_path / "state")
    (noted,) = packaged(tmp_path / "state")
    assert noted.path.parent == tmp_path / "bentoml" / "bentos" / "text_classifier"


def test_requirements_in_the_bento_are_pinned_with_hashes(packed: Package) -> None:
    text = (packed.path / "env" / "python" / "requirements.txt").read_text()
    assert "onnxruntime-gpu==" in text
    assert text.count("--hash=sha256:") > 100
    assert not any(name in text for name in ("tensorflow==", "prefect==", "great-expectations=="))


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        # Of a tree: no number, and the reason of every file.
        shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'"), ("c", "d", "another")]),
    ],
    ids=["folder", "files"],
)
def test_a_full_disk_leaves_nothing_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    built = tmp_path / "built" / "bentos" / "text_classifier" / "v9"
    (built / "src").mkdir(parents=True)
    (built / "src" / "file").write_text("x")
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))

    def full(source: Path, target: Path) -> None:
        target.mkdir(parents=True)
        (target / "half").write_text("half")
        raise error

    monkeypatch.setattr(packaging.shutil, "copytree", full)
    with pytest.raises(DeploymentError, match=r"No space left on device.*; free space there or set BENTOML_HOME"):
        packaging._place(built, "v9")
    left = [path for path in (tmp_path / "bentoml").rglob("*") if path.is_file()]
    assert left == []


def test_the_dockerfile_is_pinned_unprivileged_and_holds_no_secret(packed: Package) -> None:
    lines = (packed.path / "env" / "docker" / "Dockerfile").read_text().splitlines()
    given: dict[str, list[str]] = {}
    for line in lines:
        if instruction := re.match("([A-Z]+) (.*)", line):
            given.setdefault(instruction[1], []).append(instruction[2])
    assert given["FROM"] == ["python:3.11-slim AS base-container"]
    assert given["USER"][-1] == "bentoml"
    assert given["ENTRYPOINT"] == ['[ "/home/bentoml/bento/env/docker/entrypoint.sh" ]']
    assert "ADD" not in given
    assert not any(word in "\n".join(lines).lower() for word in ("password", "token=", "secret=", "http://"))
    assert any("pip install -r $BENTO_PATH/env/python/requirements.txt" in line for line in lines)
    for name, value in telemetry.variables(*telemetry.SERVING).items():
        assert f"{name}={value}" in given["ARG"]
        assert f"{name}=${name}" in given["ENV"]
    # What it copies is there.
    for source in ("env/docker/entrypoint.sh", "env/python/requirements.txt", "src/bentos"):
        assert (packed.path / source).exists()


@pytest.mark.skipif(HADOLINT is None, reason="the extra `manifests` is not installed")
def test_a_linter_finds_no_error_in_the_dockerfile(packed: Package) -> None:
    dockerfile = packed.path / "env" / "docker" / "Dockerfile"
    # Its warnings are of BentoML's template.
    done = subprocess.run([str(HADOLINT), "--failure-threshold", "error", dockerfile], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
