"""The client's two commands around a program that sends by itself."""

import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from bentos.serving.guard.client import opened
from bentos.serving.guard.network import ENVELOPES_VARIABLE
from tests.bentos.text_classifier.model_folder import grams_folder, sentence
from tests.bentos.text_classifier.servers import worker

CLIENT = [sys.executable, "-m", "bentos.serving.guard.client"]


def test_what_is_sealed_is_sent_by_anything_and_its_answer_opened(tmp_path: Path) -> None:
    body = json.dumps({"texts": [sentence("sport")]}).encode()
    key = tmp_path / "answer.key"
    environment = {ENVELOPES_VARIABLE: str(tmp_path / "envelopes")}
    with worker(grams_folder(tmp_path / "model"), tmp_path, environment=environment) as served:
        url = f"{served.url}/predict"
        sealed = subprocess.run([*CLIENT, "seal", url, str(key)], input=body, capture_output=True, check=True).stdout
        headers = {"content-type": "application/json", "x-encryption": "hpke"}
        answer = httpx.post(url, content=sealed, headers=headers, trust_env=False).raise_for_status().content
    assert b"sport" not in answer
    assert key.stat().st_mode & 0o777 == 0o600
    plain = subprocess.run([*CLIENT, "open", str(key)], input=answer, capture_output=True, check=True).stdout
    assert json.loads(plain)["predictions"][0]["label"] == "sport"


@pytest.mark.parametrize("answer", [b"", b"{}", b'{"nonce": "AAAAAAAAAAAAAAAA", "ciphertext": "AAAA"}', b"\xff"])
def test_an_answer_that_is_none_or_was_changed_is_said(answer: bytes) -> None:
    with pytest.raises(ValueError, match="was changed on its way, or is not encrypted"):
        opened(answer, bytes(32))
