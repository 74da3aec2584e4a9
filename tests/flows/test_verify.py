import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.verify import VerifyConfig
from tasks.release.signing import sign
from tests.conftest import ROOT
from tests.tasks.deployment.supervisor.bento import lay_out
from tests.tasks.keys import signing_key


def verified(bento: Path, key: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.verify", "--bento", str(bento), "--key", str(key)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_bento_is_checked_before_it_is_served_elsewhere(tmp_path: Path) -> None:
    private = signing_key(tmp_path / "signing.pem")
    public = private.with_name("signing.pem.pub")
    bento = lay_out(tmp_path / "store").path
    unsigned = verified(bento, public)
    assert (unsigned.returncode, unsigned.stdout) == (4, "")
    assert "is not signed: signature.sig is missing" in unsigned.stderr
    sign(bento, private)
    done = verified(bento, public)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"v1 is text_classifier:v1 as the key of {public} signed it\n"
    (bento / "src" / "planted.py").write_text("x = 1\n")
    changed = verified(bento, public)
    assert changed.returncode == 4
    assert "is not what was signed, and is not served: added: src/planted.py" in changed.stderr
    assert "Traceback" not in changed.stderr


def test_somebody_has_to_be_trusted() -> None:
    with pytest.raises(ValidationError, match="say who is trusted: give either key or sigstore"):
        VerifyConfig()
