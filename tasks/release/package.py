"""Package: one self-contained bento of code, model and settings, placed whole into BentoML's store."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import yaml

from bentos import telemetry
from bentos.serving.model_folder import CARD, describe
from bentos.serving.model_folder import lineage as lineage_of
from bentos.serving.settings import SETTINGS, settings_of
from tasks.base.errors import DeploymentError, InputError
from tasks.base.manifests import Evaluation, Package, content_of
from tasks.base.settings import SecuritySettings, ServeSettings
from tasks.base.state import ROOT
from tasks.release.ownership import own
from tasks.release.sbom import write_sbom
from tasks.release.signing import sign

NAME = "text_classifier"
SOURCE = ROOT / "bentos" / NAME
IN_BENTO = Path("bentos") / NAME
_SEALED_CARD = "The model and its card are encrypted; the service shows the card at GET /model."


def package(
    evaluation: Evaluation,
    serve: ServeSettings,
    card: str,
    lineage: dict[str, str],
    folder: Path,
    state: Path,
    security: SecuritySettings = SecuritySettings(),  # noqa: B008 (frozen)
) -> Package:
    """Builds the bento `text_classifier:<UTC time>-<8 hex of content>` and puts it into BentoML's store.

    The model folder, its card and the service's settings lie inside the bento's source, so that
    code, model and settings travel, are signed and are served as one thing. The same inputs give
    the same content.

    Args:
        evaluation: its folder holds the served variant.
        serve: resources, workers, threads and limits of the service.
        card: the model card, Markdown.
        lineage: content hashes by stage; kept in `model.json`.
        folder: working space; left with the bento's source.
        state: whose bento it is; noted there before it is in the store.
        security: whether the model is sealed and the bento signed.

    Raises:
        DeploymentError: BentoML cannot build it, or the store cannot hold it.
        InputError: a key that is asked for cannot be used.
    """
    source = folder / "source"
    _lay_out(source, evaluation.folder, serve, card, lineage)
    content = content_of(source)
    name = f"{datetime.now(UTC):%Y%m%d%H%M%S}-{content[:8]}"
    _name_version(source, name, content)
    if security.encrypt is not None:
        _seal(source / IN_BENTO / "model", security.encrypt)
    built = _build(source, name, lineage, folder, sealed=security.encrypt is not None)
    write_sbom(built, f"{NAME}:{name}", content)
    if security.signer is not None:
        sign(built, security.signer)
    own(state, f"{NAME}:{name}", store() / name)
    path = _place(built, name)
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return Package(tag=f"{NAME}:{name}", path=path, size_bytes=size, made_of=made_of(lineage, serve), content=content)


def made_of(lineage: dict[str, str], serve: ServeSettings) -> str:
    """The content of the served model, the code and the policy for personal data: what two versions have in common
    when they differ in their time alone."""
    return content_of(lineage.get("served"), lineage.get("code"), serve.personal_data)


def store() -> Path:
    """The folder of our bentos in BentoML's store, one subfolder a version."""
    home = Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")
    return home / "bentos" / NAME


def arriving_folder(path: Path) -> Path:
    """Where the bento that will lie at `path` in a store is copied to before it moves there whole."""
    return path.parent.parent.parent / "tmp"


def bento_source(path: Path) -> Path:
    """The folder in the bento at `path` from which its code runs."""
    return path / "src"


def bento_kind(path: Path) -> str:
    """The kind of service that the bento at `path` holds; empty where the bento is gone, or another program's."""
    found = (settings.parent.name for settings in (bento_source(path) / "bentos").glob(f"*/{SETTINGS}"))
    return next(found, "")


def bento_model(path: Path) -> Path:
    """The model folder in the bento at `path`."""
    return bento_source(path) / "bentos" / bento_kind(path) / "model"


def _lay_out(source: Path, model: Path, serve: ServeSettings, card: str, lineage: dict[str, str]) -> None:
    shutil.rmtree(source, ignore_errors=True)
    copy_code(source)
    target = source / IN_BENTO / "model"
    shutil.copytree(model, target)
    describe(target, name=NAME, version="", lineage=lineage)
    (target / CARD).write_text(card)
    chosen = serve.model_dump(mode="json", include=set(settings_of(NAME).__struct_fields__))
    (source / IN_BENTO / SETTINGS).write_text(json.dumps(chosen, indent=2) + "\n")


def copy_code(source: Path) -> None:
    """Puts all code that a bento runs into `source`, without the modes of the checkout, which `copytree` would keep."""
    (source / IN_BENTO).mkdir(parents=True)
    for file in (*SOURCE.parent.glob("*.py"), *(SOURCE.parent / "serving").rglob("*"), *SOURCE.rglob("*")):
        place = file.relative_to(SOURCE.parent)
        if file.is_file() and not any(part.startswith((".", "__pycache__")) or part == "model" for part in place.parts):
            copied = source / IN_BENTO.parent / place
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copied)


def _name_version(source: Path, name: str, content: str) -> None:
    model = source / IN_BENTO / "model"
    describe(model, version=name, lineage=lineage_of(model) | {"bento": content})


def _seal(model: Path, source: str) -> None:
    # Imported here: who encrypts nothing does not pay for it.
    from bentos.serving.sealing.folder import seal_folder
    from bentos.serving.sealing.keys import provider_of
    from bentos.serving.sealing.problem import KeyProblem

    try:
        seal_folder(model, provider_of(source))
    except KeyProblem as error:
        raise InputError(f"security.encrypt: {error}") from error


def _build(source: Path, name: str, lineage: dict[str, str], folder: Path, *, sealed: bool) -> Path:
    """Builds in a private home; a process of its own imports exactly the code that ships."""
    build_file = {
        "service": "bentos.text_classifier.service",
        "name": NAME,
        "labels": {stage: content[:63] for stage, content in lineage.items()},
        # The card names the labels, which are sealed too.
        "description": _SEALED_CARD if sealed else f"file:{IN_BENTO / 'model' / CARD}",
        "include": ["*"],
        "python": {"requirements_txt": str(IN_BENTO / "requirements.txt"), "lock_packages": False},
        "docker": {"python_version": f"{sys.version_info.major}.{sys.version_info.minor}"},
        "envs": [{"name": key, "value": value} for key, value in telemetry.variables(*telemetry.SERVING).items()],
    }
    (source / "bentofile.yaml").write_text(yaml.safe_dump(build_file, sort_keys=False))
    home = folder / "bentoml"
    shutil.rmtree(home, ignore_errors=True)
    environment = os.environ | {
        "BENTOML_HOME": str(home),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(source),
    }
    command = [sys.executable, "-m", "bentoml", "build", "--version", name, "--output", "tag", str(source)]
    done = subprocess.run(command, env=environment, cwd=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise DeploymentError(f"BentoML {version('bentoml')} cannot build the bento:\n{_tail(done.stderr)}")
    return home / "bentos" / NAME / name


def _place(built: Path, name: str) -> Path:
    """Moves a finished bento into the store by one rename, so that a kill or a full disk leaves no half of it."""
    bentos = store()
    arriving = arriving_folder(bentos / name) / f"{NAME}-{name}-{os.getpid()}"
    try:
        arriving.parent.mkdir(parents=True, exist_ok=True)
        bentos.mkdir(parents=True, exist_ok=True)
        shutil.copytree(built, arriving)
        arriving.rename(bentos / name)
        latest = arriving.with_name(f"{NAME}-latest-{os.getpid()}")
        latest.write_text(name)
        latest.rename(bentos / "latest")
    except OSError as error:
        shutil.rmtree(arriving, ignore_errors=True)
        # Of a whole tree the reasons come file by file, without a number.
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror
        raise DeploymentError(
            f"the bento cannot be stored in {bentos}: {reason}; free space there or set BENTOML_HOME"
        ) from error
    shutil.rmtree(built.parent.parent.parent, ignore_errors=True)
    return bentos / name


def _tail(text: str, lines: int = 15) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])
