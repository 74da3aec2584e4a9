"""Every command and every way to roll out, once, with everything on: sealed, signed, keyed, certified, encrypted."""

import csv
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from prefect.settings import PREFECT_API_URL

from bentos.serving.guard.client import PrivateClient
from tasks.deployment.supervisor import keys
from tasks.deployment.supervisor.record import history, read_live
from tests.end_to_end.labelled_text import rows
from tests.end_to_end.place import Place
from tests.tasks.keys import certificate, key_file, key_pair_files, signing_key

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
QUICK = ("--effort", "quick", "--train.candidates", "linear")
TEXT = "Why was the parcel late on Monday?"


class Protected(Place):
    """A place where everything is on, from the sealed rows to the encrypted requests."""

    def __init__(self, folder: Path, api: str) -> None:
        self.folder = folder
        self.token = ""
        cert, cert_key = certificate(folder / "tls")
        self.old, self.new = key_file(folder / "model.key"), key_file(folder / "new.key")
        self.data_public, self.data_private = key_pair_files(folder)
        self.context = ssl.create_default_context(cafile=str(cert))
        self.context.load_cert_chain(cert, cert_key)
        security = {
            "encrypt": self.old,
            "sign": signing_key(folder / "signing.pem"),
            "tls-certificate": cert,
            "tls-key": cert_key,
            "tls-client-ca": cert,
        }
        said = [part for name, value in security.items() for part in (f"--security.{name}", str(value))]
        super().__init__(folder, api, *QUICK, "--security.require-keys", "--security.private-requests", *said)

    def flow(self, name: str, *arguments: str) -> str:
        return self.done([sys.executable, "-m", f"flows.{name}", *arguments])

    def deployment(self, *arguments: str) -> str:
        return self.done([sys.executable, "-m", "tasks.deployment", *arguments])

    def done(self, command: list[str]) -> str:
        done: subprocess.CompletedProcess[str] = self._run(command)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def table(self, name: str, seed: int, labels: bool = True) -> Path:
        file = self.folder / name
        with file.open("w", encoding="utf-8", newline="") as stream:
            written = csv.writer(stream)
            written.writerow(["text", "label"] if labels else ["text"])
            written.writerows(row if labels else row[:1] for row in rows(400, seed))
        return file

    def sealed(self, file: Path) -> str:
        self.flow("seal", "--input", str(file), "--to", self.data_public)
        file.unlink()
        return f"{file}.sealed"

    def client(self) -> PrivateClient:
        return PrivateClient(f"https://127.0.0.1:{self.port}", self.token, verify=self.context, trust_env=False)

    @contextmanager
    def asked(self) -> Iterator[list[str]]:
        """Encrypted requests one after the other while the block lasts; the list holds what went wrong."""
        wrong: list[str] = []
        enough = threading.Event()

        def ask() -> None:
            with self.client() as client:
                while not enough.wait(0.02):
                    try:
                        label = client.predict([TEXT])["predictions"][0]["label"]
                    except (httpx.HTTPError, ValueError) as error:
                        label = f"{type(error).__name__}: {error}"
                    if label != "delivery":
                        wrong.append(label)

        thread = threading.Thread(target=ask)
        thread.start()
        try:
            yield wrong
        finally:
            enough.set()
            thread.join()


@pytest.fixture(scope="module")
def place(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Protected]:
    url = PREFECT_API_URL.value()
    assert url
    place = Protected(tmp_path_factory.mktemp("protected"), url)
    try:
        source = place.sealed(place.table("rows.csv", 1))
        place.done(place.command("--source", source, "--data-key", place.data_private))
        place.token = keys.add(place.state, "friend", ("predict", "explain", "feedback"))
        yield place
    finally:
        place.serving("stop")


def test_encrypted_requests_are_answered(place: Protected) -> None:
    with place.client() as client:
        assert client.predict([TEXT])["predictions"][0]["label"] == "delivery"


@pytest.mark.parametrize(("number", "mode"), [(2, "swap"), (3, "shadow"), (4, "canary")])
def test_a_version_takes_over_under_encrypted_requests(place: Protected, number: int, mode: str) -> None:
    source = place.sealed(place.table(f"rows-{number}.csv", number))
    said = {"mode": mode, "shares": 0.5, "requests": 20, "minutes": 5, "watch-minutes": 0.2, "max-slowdown": 50}
    tried = [f"--serve.rollout.{name}={value}" for name, value in said.items()]
    with place.asked() as wrong:
        place.done(place.command("--source", source, "--data-key", place.data_private, *tried))
    assert wrong == []
    assert [entry["event"] for entry in history(place.state)].count("deployed") == number


def test_every_command_works_on_a_protected_version(place: Protected) -> None:
    asked = place.sealed(place.table("asked.csv", 9, labels=False))
    answers = place.folder / "answers.csv.sealed"
    data = ("--data-key", place.data_private)
    assert "400 rows" in place.flow("batch_predict", "--input", asked, "--output", str(answers), *data)
    place.flow("unseal", "--input", str(answers), *data)
    assert len((place.folder / "answers.csv").read_text().splitlines()) == 401
    assert "page: " in place.flow("monitor")
    assert "signed it" in place.flow("verify", "--key", str(place.folder / "signing.pem.pub"))
    place.flow("rotate_key", "--old", place.old, "--new", place.new)
    place.deployment("reload")
    place.flow("batch_predict", "--input", asked, "--output", str(place.folder / "again.csv"), *data)
    before = read_live(place.state)
    with place.asked() as wrong:
        place.flow("rollback")
    after = read_live(place.state)
    assert wrong == []
    assert before
    assert after
    assert before.version.tag != after.version.tag
    place.flow("maintain")
    assert "friend" in place.deployment("keys", "list")
    assert after.version.tag in place.deployment("status")
    place.deployment("stop")
    assert not (place.state / "serving" / "envelopes").exists()
    place.deployment("start")
    with place.client() as client:
        assert client.predict([TEXT])["predictions"][0]["label"] == "delivery"
