"""Signed bentos: whatever is changed, added or removed is refused by name."""

import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from model_signing import hashing, signing, verifying
from packaging.utils import canonicalize_name
from pydantic import ValidationError
from sigstore import oidc
from sigstore.errors import TUFError

from bentos.serving.model_folder import MANIFEST, WRAPPED_KEY, ModelError
from bentos.text_classifier.manifest import GRAPH
from bentos.text_classifier.model import TextModel
from tasks.base.errors import DeploymentError, InputError
from tasks.base.manifests import Package
from tasks.base.settings import SecuritySettings, ServeSettings, SigstoreSettings
from tasks.base.state import ROOT
from tasks.deployment.smoke import smoke
from tasks.deployment.supervisor import protection, verified
from tasks.deployment.supervisor.record import Version
from tasks.release.package import bento_model, package
from tasks.release.signing import SIGNATURE, TOKEN_VARIABLE, sign, verify
from tests.bentos.text_classifier.model_folder import grams_folder
from tests.tasks.deployment.supervisor.bento import SERVE, evaluation, known, lay_out
from tests.tasks.keys import key_file, signing_key

MODEL = Path("src/bentos/text_classifier/model")


@pytest.fixture
def security(tmp_path: Path) -> SecuritySettings:
    return SecuritySettings(sign=signing_key(tmp_path / "signing.pem"))


@pytest.fixture
def bento(tmp_path: Path, security: SecuritySettings) -> Path:
    path = lay_out(tmp_path).path
    assert security.sign
    sign(path, security.sign)
    return path


def check(bento: Path, security: SecuritySettings) -> None:
    assert security.trusted
    verify(bento, security.trusted, "text_classifier:v1")


def test_a_bento_as_it_was_signed_is_accepted(bento: Path, security: SecuritySettings) -> None:
    check(bento, security)


@pytest.mark.parametrize("name", [MODEL / GRAPH, MODEL / MANIFEST, Path("src/bentos/serving/http/application.py")])
def test_a_changed_file_is_named(bento: Path, security: SecuritySettings, name: Path) -> None:
    content = bytearray((bento / name).read_bytes())
    content[-1] ^= 1
    (bento / name).write_bytes(content)
    with pytest.raises(DeploymentError, match=f"changed: {name}$"):
        check(bento, security)


@pytest.mark.parametrize(
    "name", ["evil.py", ".git/hook", ".gitignore", "src/bentos/__pycache__/x.pyc", "src/sitecustomize.py"]
)
def test_an_added_file_is_named(bento: Path, security: SecuritySettings, name: str) -> None:
    (bento / name).parent.mkdir(exist_ok=True)
    (bento / name).write_text("x = 1")
    with pytest.raises(DeploymentError, match=f"added: {name}$"):
        check(bento, security)


@pytest.mark.parametrize("kind", ["folder", "key of a model that is not sealed"])
def test_what_no_signature_covers_may_not_be_there(bento: Path, security: SecuritySettings, kind: str) -> None:
    match kind:
        case "folder":
            name = Path("src/numpy")
            (bento / name).mkdir()
        case _:
            name = MODEL / WRAPPED_KEY
            (bento / name).write_text("{}")
    with pytest.raises(DeploymentError, match=f"added: {name}$"):
        check(bento, security)


def test_a_signature_that_leaves_files_out_is_none(bento: Path, security: SecuritySettings) -> None:
    """The same key signed, perhaps with another program, but not all of what lies there."""
    (bento / "src" / "planted.py").write_text("x = 1")
    assert security.sign
    left_out = hashing.Config().set_ignored_paths(paths=[bento / "src", bento / SIGNATURE], ignore_git_paths=False)
    signer = signing.Config().use_elliptic_key_signer(private_key=security.sign)
    signer.set_hashing_config(left_out).sign(bento, bento / SIGNATURE)
    with pytest.raises(DeploymentError, match="added: src, src/bentos"):
        check(bento, security)


def test_another_version_signed_by_the_same_key_is_not_taken_for_this_one(
    tmp_path: Path, bento: Path, security: SecuritySettings
) -> None:
    other = lay_out(tmp_path, 2)
    assert security.sign
    assert security.trusted
    sign(other.path, security.sign)
    assert verify(other.path, security.trusted, other.tag) == other.tag
    shutil.rmtree(bento)
    shutil.copytree(other.path, bento)
    with pytest.raises(DeploymentError, match=r"v1 holds text_classifier:v2 in place of text_classifier:v1"):
        check(bento, security)
    assert verify(bento, security.trusted, None) == other.tag


def test_a_bento_that_does_not_say_its_version_is_refused(bento: Path, security: SecuritySettings) -> None:
    (bento / "bento.yaml").unlink()
    assert security.sign
    sign(bento, security.sign)
    with pytest.raises(DeploymentError, match=r"v1 does not say in bento\.yaml which version it is"):
        check(bento, security)


def test_a_worker_of_another_version_does_not_start(
    tmp_path: Path, bento: Path, security: SecuritySettings, capfd: pytest.CaptureFixture[str]
) -> None:
    version = Version(tag="text_classifier:v9", path=bento, content="0", serve=SERVE, security=security)
    done = subprocess.run(protection.inside(["never"], version), cwd=ROOT, check=False)
    assert done.returncode == DeploymentError.exit_status
    assert "v1 holds text_classifier:v1 in place of text_classifier:v9" in capfd.readouterr().err


def test_a_removed_file_is_named(bento: Path, security: SecuritySettings) -> None:
    (bento / MODEL / "grams.npz").unlink()
    with pytest.raises(DeploymentError, match=r"removed: src/bentos/text_classifier/model/grams\.npz$"):
        check(bento, security)


def test_a_link_in_place_of_a_file_is_named(bento: Path, security: SecuritySettings, tmp_path: Path) -> None:
    shutil.move(bento / MODEL / GRAPH, tmp_path / GRAPH)
    (bento / MODEL / GRAPH).symlink_to(tmp_path / GRAPH)
    with pytest.raises(DeploymentError, match=f"holds a link, {MODEL / GRAPH}"):
        check(bento, security)


def test_a_pipe_is_named(bento: Path, security: SecuritySettings) -> None:
    os.mkfifo(bento / "src" / "pipe")
    with pytest.raises(DeploymentError, match="holds what is no file, src/pipe; it is not served"):
        check(bento, security)


def test_swapped_files_are_named(bento: Path, security: SecuritySettings) -> None:
    one, other = bento / MODEL / GRAPH, bento / MODEL / "grams.npz"
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(DeploymentError, match=r"changed: .*model/grams\.npz, .*model/model\.onnx$"):
        check(bento, security)


def test_no_signature_and_a_stranger_s_signature_are_refused(
    bento: Path, security: SecuritySettings, tmp_path: Path
) -> None:
    sign(bento, signing_key(tmp_path / "stranger.pem"))
    with pytest.raises(DeploymentError, match="is not served: the signature is not by who is trusted"):
        check(bento, security)
    (bento / SIGNATURE).write_text("{}")
    with pytest.raises(DeploymentError, match="is not served: the signature is not by who is trusted"):
        check(bento, security)
    (bento / SIGNATURE).unlink()
    with pytest.raises(DeploymentError, match=r"is not signed: signature\.sig is missing"):
        check(bento, security)


def test_a_signature_of_another_bento_is_refused(bento: Path, security: SecuritySettings, tmp_path: Path) -> None:
    other = lay_out(tmp_path, 2).path
    shutil.copy(bento / SIGNATURE, other)
    with pytest.raises(DeploymentError, match=r"changed: bento\.yaml, src/bentos"):
        check(other, security)


def test_a_key_that_is_none_is_bad_input(tmp_path: Path, bento: Path) -> None:
    (tmp_path / "bad.pem").write_text("no key")
    with pytest.raises(InputError, match=r"bad\.pem holds no usable key.*make one with `openssl ecparam"):
        sign(bento, tmp_path / "bad.pem")
    with pytest.raises(InputError, match=r"bad\.pem holds no usable public key"):
        verify(bento, tmp_path / "bad.pem", None)


IDENTITY = SigstoreSettings(identity="ann@mail.example", issuer="https://accounts.example")


@pytest.fixture
def sigstore(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """A sigstore by a key: signs for a token, verifies for one identity; the tokens that it saw."""
    private = signing_key(tmp_path / "sigstore.pem")
    tokens = []

    def signer(config: signing.Config, *, identity_token: str, trust_config: Path | None) -> signing.Config:
        tokens.append(identity_token)
        return config.use_elliptic_key_signer(private_key=private)

    def verifier(config: verifying.Config, *, identity: str, oidc_issuer: str, trust_config: Path | None) -> Any:
        right = (identity, oidc_issuer) == (IDENTITY.identity, IDENTITY.issuer)
        key = private if right else signing_key(tmp_path / "stranger.pem")
        public = load_pem_private_key(key.read_bytes(), None).public_key()
        (tmp_path / "pub").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        return config.use_elliptic_key_verifier(public_key=tmp_path / "pub")

    monkeypatch.setattr(signing.Config, "use_sigstore_signer", signer)
    monkeypatch.setattr(verifying.Config, "use_sigstore_verifier", verifier)
    monkeypatch.setenv(TOKEN_VARIABLE, "who I am")
    return tokens


def test_sigstore_signs_for_a_token_and_verifies_an_identity(tmp_path: Path, sigstore: list[str]) -> None:
    settings = SecuritySettings(sigstore=IDENTITY)
    bento = lay_out(tmp_path).path
    assert settings.signer
    sign(bento, settings.signer)
    assert sigstore == ["who I am"]
    check(bento, settings)
    with pytest.raises(DeploymentError, match="is not by who is trusted"):
        verify(bento, IDENTITY.model_copy(update={"identity": "ben@mail.example"}), None)
    (bento / MODEL / "grams.npz").unlink()
    with pytest.raises(DeploymentError, match=r"removed: src/bentos/text_classifier/model/grams\.npz$"):
        check(bento, settings)


def test_a_worker_is_started_behind_the_check_of_the_identity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []
    monkeypatch.setattr(verified, "verify", lambda *given: asked.append(given))
    monkeypatch.setattr(os, "chdir", lambda folder: None)
    monkeypatch.setattr(os, "execv", lambda program, command: asked.append(command))
    version = Version.of(lay_out(tmp_path), SERVE, SecuritySettings(sigstore=IDENTITY))
    command = protection.inside(["serve", "--port", "0"], version)
    verified.main(*command[3:])
    assert asked == [(version.path, IDENTITY, version.tag), ("serve", "--port", "0")]


def test_without_an_identity_or_a_network_sigstore_says_so(
    tmp_path: Path, bento: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(config: object, **options: object) -> None:
        raise TUFError("Failed to refresh TUF metadata")

    monkeypatch.setattr(oidc, "detect_credential", lambda client: None)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    with pytest.raises(InputError, match="nothing here says who signs: set SIGSTORE_IDENTITY_TOKEN"):
        sign(bento, IDENTITY)
    monkeypatch.setenv(TOKEN_VARIABLE, "who I am")
    monkeypatch.setattr(signing.Config, "use_sigstore_signer", unreachable)
    monkeypatch.setattr(verifying.Config, "use_sigstore_verifier", unreachable)
    with pytest.raises(DeploymentError, match=r"is not signed: sigstore cannot be used from here \(Failed to refresh"):
        sign(bento, IDENTITY)
    with pytest.raises(DeploymentError, match=r"cannot be verified, and is not served: sigstore cannot be used"):
        verify(bento, IDENTITY, None)


def test_a_key_and_sigstore_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"security\.sigstore signs and verifies without a key"):
        SecuritySettings(sigstore=IDENTITY, sign=tmp_path / "key")


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> tuple[Package, SecuritySettings]:
    """A bento built by BentoML, its model sealed and everything signed."""
    folder = tmp_path_factory.mktemp("protected")
    settings = SecuritySettings(sign=signing_key(folder / "signing.pem"), encrypt=key_file(folder / "model.key"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(folder / "bentoml"))
        made = package(
            evaluation(folder),
            ServeSettings(workers=1),
            "# science-1",
            {"data": "1"},
            folder / "w",
            folder / "state",
            settings,
        )
    return made, settings


def test_a_sealed_and_signed_bento_shows_nothing_of_the_model(protected: tuple[Package, SecuritySettings]) -> None:
    made, settings = protected
    assert settings.trusted
    assert verify(made.path, settings.trusted, made.tag) == made.tag
    for file in made.path.rglob("*"):
        if file.is_file() and file.suffix not in (".py", ".js"):
            content = file.read_bytes()
            assert b"science-1" not in content, file
            assert b"molecule" not in content, file
    assert TextModel.load(bento_model(made.path), key=settings.encrypt).card == "# science-1"


def test_the_bill_of_materials_names_every_pinned_package(protected: tuple[Package, SecuritySettings]) -> None:
    bom = json.loads((protected[0].path / "sbom.cdx.json").read_text())
    assert bom["bomFormat"] == "CycloneDX"
    assert bom["metadata"]["component"]["hashes"][0]["content"] == protected[0].content
    text = (protected[0].path / "env" / "python" / "requirements.txt").read_text()
    pinned = {canonicalize_name(name) for name in re.findall(r"(?m)^([A-Za-z0-9._-]+)[^=\n]*==", text)}
    components = {entry["name"]: entry["version"] for entry in bom["components"]}
    assert components.keys() == pinned
    assert components["onnxruntime-gpu"] == "1.31.1"


def test_a_sealed_and_signed_bento_passes_its_smoke_test(protected: tuple[Package, SecuritySettings]) -> None:
    made, settings = protected
    checks = smoke(made, SERVE, known(1), security=settings)
    assert all(check["passed"] for check in checks)


def test_a_changed_bento_does_not_start_and_says_which_file(
    protected: tuple[Package, SecuritySettings], tmp_path: Path
) -> None:
    made, settings = protected
    harmed = made.model_copy(update={"path": tmp_path / made.path.name})
    shutil.copytree(made.path, harmed.path)
    with (harmed.path / "src/bentos/serving/http/application.py").open("a") as stream:
        stream.write("# planted\n")
    with pytest.raises(DeploymentError, match=r"changed: src/bentos/serving/http/application\.py"):
        smoke(harmed, SERVE, known(1), security=settings)


def test_the_wrong_key_stops_the_smoke_test_with_its_reason(
    protected: tuple[Package, SecuritySettings], tmp_path: Path
) -> None:
    made, settings = protected
    wrong = settings.model_copy(update={"encrypt": key_file(tmp_path / "wrong")})
    with pytest.raises(DeploymentError, match=r"it was sealed under key \w+; the key given is \w+"):
        smoke(made, SERVE, known(1), security=wrong)


def test_the_wrapped_key_lies_outside_the_signature(
    protected: tuple[Package, SecuritySettings], tmp_path: Path
) -> None:
    made, settings = protected
    copied = tmp_path / made.path.name
    shutil.copytree(made.path, copied)
    (bento_model(copied) / WRAPPED_KEY).write_text("{}")
    assert settings.trusted
    verify(copied, settings.trusted, made.tag)
    with pytest.raises(ModelError, match=r"model\.key, which holds the wrapped data key, is missing or damaged"):
        TextModel.load(bento_model(copied), key=settings.encrypt)


class Planted:
    """Unpickling it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", [GRAPH, MANIFEST, "grams.npz"])
def test_a_planted_pickle_is_not_run(tmp_path: Path, name: str) -> None:
    folder = grams_folder(tmp_path / "model")
    content = pickle.dumps(Planted(tmp_path / "run"))
    (folder / name).write_bytes(content)
    with pytest.raises(ModelError):
        TextModel.load(folder)
    assert not (tmp_path / "run").exists()
    pickle.loads(content)
    assert (tmp_path / "run").exists()


def test_python_code_beside_the_model_is_not_run(tmp_path: Path) -> None:
    folder = grams_folder(tmp_path / "model")
    for name in ("__init__.py", "sitecustomize.py", "numpy.py", "conftest.py"):
        (folder / name).write_text(f"import os; os.mkdir({str(tmp_path / 'run')!r})")
    code = "from pathlib import Path; from bentos.text_classifier.model import TextModel; TextModel.load(Path('model'))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert not (tmp_path / "run").exists()
