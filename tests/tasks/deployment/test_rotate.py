"""Rotation wraps data keys anew; models, signatures and versions stay."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from bentos.serving.model_folder import ModelError
from bentos.serving.sealing.folder import seal_folder
from bentos.serving.sealing.keys import provider_of
from bentos.text_classifier.model import TextModel
from tasks.base.errors import InputError
from tasks.base.files import write_whole
from tasks.base.settings import SecuritySettings
from tasks.deployment.rotate import rotate
from tasks.deployment.supervisor.record import LIVE, Live, Version, history, read_live
from tasks.release.ownership import own
from tasks.release.package import bento_model
from tasks.release.signing import sign, verify
from tests.tasks.deployment.supervisor.bento import SERVE, lay_out
from tests.tasks.keys import key_file, signing_key


def test_rotation_keeps_the_signature_and_follows_the_live_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    old, new, state = key_file(tmp_path / "old"), key_file(tmp_path / "new"), tmp_path / "state"
    security = SecuritySettings(encrypt=old, sign=signing_key(tmp_path / "signing.pem"))
    packages = [lay_out(tmp_path, step) for step in (1, 2)]
    plain, strange = lay_out(tmp_path, 3), lay_out(tmp_path, 4)
    for one in [*packages, strange]:
        seal_folder(bento_model(one.path), provider_of(old))
        assert security.sign
        sign(one.path, security.sign)
    versions = [Version.of(one, SERVE, security) for one in packages]
    write_whole(state / LIVE, Live(versions=versions, since=datetime.now(UTC)).model_dump_json())

    own(state, plain.tag, plain.path)
    assert rotate(old, new, state) == [one.tag for one in packages]
    assert TextModel.load(bento_model(strange.path), key=old).manifest.labels, "it is another state's"
    live = read_live(state)
    assert live
    for version in live.versions:
        assert version.security == security.model_copy(update={"encrypt": new})
        assert security.trusted
        verify(version.path, security.trusted, version.tag)
        assert TextModel.load(bento_model(version.path), key=new).manifest.labels
        with pytest.raises(ModelError):
            TextModel.load(bento_model(version.path), key=old)
    assert TextModel.load(bento_model(plain.path)).manifest.labels
    assert [entry["event"] for entry in history(state)] == ["key rotated"]
    with pytest.raises(InputError, match=r"no bento of .* is sealed under the old key\. v1: it was sealed under key"):
        rotate(old, new, state)
