"""A protected deployment as strangers and its own checks meet it."""

import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bentos.serving.guard.client import PrivateClient
from bentos.serving.sealing.folder import seal_folder
from bentos.serving.sealing.keys import provider_of
from tasks.base.errors import DeploymentError, InputError
from tasks.base.manifests import Package
from tasks.base.settings import SecuritySettings
from tasks.deployment.deploy import deploy
from tasks.deployment.supervisor import keys, lifecycle
from tasks.deployment.supervisor.protection import check_address
from tasks.deployment.supervisor.record import history
from tasks.release.package import bento_model
from tasks.release.signing import sign
from tests.tasks.deployment.supervisor.bento import SERVE, known, lay_out
from tests.tasks.keys import certificate, key_file, signing_key


@pytest.fixture(scope="module")
def security(folder: Path) -> SecuritySettings:
    """Everything on: sealed, signed, keys, certificates of both sides, encrypted requests."""
    cert, key = certificate(folder / "tls")
    return SecuritySettings(
        encrypt=key_file(folder / "model.key"),
        sign=signing_key(folder / "signing.pem"),
        require_keys=True,
        tls_certificate=cert,
        tls_key=key,
        tls_client_ca=cert,
        private_requests=True,
    )


def protected(folder: Path, step: int, security: SecuritySettings) -> Package:
    package = lay_out(folder, step)
    assert security.encrypt
    assert security.sign
    seal_folder(bento_model(package.path), provider_of(security.encrypt))
    sign(package.path, security.sign)
    return package


@pytest.fixture(scope="module")
def url(folder: Path, state: Path, security: SecuritySettings) -> Iterator[str]:
    done = deploy(protected(folder, 1, security), SERVE, known(1), state, security=security)
    yield done.url
    lifecycle.stop(state)


@pytest.fixture
def trusted(security: SecuritySettings) -> ssl.SSLContext:
    assert security.tls_certificate
    context = ssl.create_default_context(cafile=str(security.tls_certificate))
    context.load_cert_chain(security.tls_certificate, security.tls_key)
    return context


def test_a_deployment_with_everything_on_answers_those_it_should(
    url: str, state: Path, trusted: ssl.SSLContext
) -> None:
    assert url.startswith("https://")
    token = keys.add(state, "friend", ("predict",))
    text, label = known(1)[0]
    with httpx.Client(base_url=url, verify=trusted, trust_env=False) as client:
        assert client.post("/predict", json={"texts": [text]}).status_code == 401
        time.sleep(0.6)
        answer = client.post("/predict", json={"texts": [text]}, headers={"authorization": f"Bearer {token}"})
        assert answer.json()["predictions"][0]["label"] == label
        with PrivateClient(url, token, verify=trusted, trust_env=False) as private:
            assert private.predict([text])["predictions"][0]["label"] == label
        keys.revoke(state, "friend")
        time.sleep(0.6)
        refused = client.post("/predict", json={"texts": [text]}, headers={"authorization": f"Bearer {token}"})
        assert refused.status_code == 401


def test_a_client_without_a_certificate_and_a_plain_one_get_no_answer(url: str, security: SecuritySettings) -> None:
    context = ssl.create_default_context(cafile=str(security.tls_certificate))
    with httpx.Client(verify=context, trust_env=False) as client, pytest.raises(httpx.TransportError):
        client.get(f"{url}/readyz")
    with httpx.Client(trust_env=False) as client, pytest.raises(httpx.TransportError):
        client.get(f"{url.replace('https', 'http')}/readyz")


def test_admin_actions_are_in_the_history_and_the_check_s_own_key_is_gone(url: str, state: Path) -> None:
    events = [(entry["event"], str(entry["tag"]), bool(entry["who"])) for entry in history(state)]
    assert ("key added", "friend", True) in events
    assert ("key revoked", "friend", True) in events
    assert "deployment check" not in keys.file(state).read_text()
    assert keys.file(state).stat().st_mode & 0o077 == 0


def test_a_changed_bento_does_not_take_over(
    url: str, folder: Path, state: Path, security: SecuritySettings, trusted: ssl.SSLContext
) -> None:
    package = protected(folder, 2, security)
    with (bento_model(package.path) / "model.onnx").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(DeploymentError, match=r"is not served: changed: src/bentos/text_classifier/model/model\.onnx"):
        deploy(package, SERVE, known(2), state, security=security)
    with httpx.Client(base_url=url, verify=trusted, trust_env=False) as client:
        assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_other_addresses_than_loopback_need_authentication(host: str, tmp_path: Path, folder: Path) -> None:
    open_host = SERVE.model_copy(update={"host": host})
    with pytest.raises(InputError, match=r"can be reached from other machines.*--security\.require-keys "):
        deploy(lay_out(tmp_path), open_host, [], tmp_path / "state")
    check_address(host, SecuritySettings(require_keys=True))
    check_address(host, SecuritySettings(force_open=True))
    check_address("127.0.0.1", SecuritySettings())


def test_a_worker_by_hand_refuses_other_addresses_too(tmp_path: Path) -> None:
    package = lay_out(tmp_path)
    command = [sys.executable, "-m", "bentos.serving.worker", "text_classifier", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(
        [*command, "--model", str(bento_model(package.path))], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "not listening on 0.0.0.0 without API keys" in done.stderr


def test_keys_from_the_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = ["--state", str(tmp_path)]
    assert keys.main(["add", "me", "--scopes", "predict", "explain", "--rate", "5", "--days", "30", *state]) == 0
    token = capsys.readouterr().out.strip()
    assert token.partition(".")[2] not in keys.file(tmp_path).read_text()
    assert keys.main(["add", "me", *state]) == 2
    assert "there is a key 'me' already" in capsys.readouterr().err
    assert keys.main(["list", *state]) == 0
    assert capsys.readouterr().out.startswith("me: predict, explain, rate 5, until 20")
    assert keys.main(["revoke", "me", *state]) == 0
    assert keys.main(["revoke", "me", *state]) == 2
    assert json.loads(keys.file(tmp_path).read_text()) == {"keys": []}


def test_missing_certificates_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"security\.tls_certificate: there is no file"):
        check_address("127.0.0.1", SecuritySettings(tls_certificate=tmp_path / "none.pem"))
    with pytest.raises(InputError, match=r"need security\.tls_certificate"):
        check_address("127.0.0.1", SecuritySettings(tls_client_ca=tmp_path / "none.pem"))
