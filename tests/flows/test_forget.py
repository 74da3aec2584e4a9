import io
from pathlib import Path

import pytest

from flows.console import Console, shown_on
from flows.forget import ForgetConfig, main
from tasks.base.errors import PipelineError
from tasks.data.sealed_files import MAGIC

VALUE = "ann@mail.example"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODEL_SERVICE_STATE", str(tmp_path))
    (tmp_path / "records.jsonl").write_text(f'{{"by": "{VALUE}"}}\n{{"by": "b"}}\n')
    return tmp_path


def said() -> str:
    out = io.StringIO()
    with shown_on(Console(out, io.StringIO())):
        main(ForgetConfig(values=(VALUE,)))
    return out.getvalue()


def test_what_was_removed_is_said(state: Path) -> None:
    assert said().startswith("1 rows removed from records.jsonl\n")
    assert said().startswith("nothing stored holds this\n")


@pytest.mark.parametrize(
    ("content", "reason"), [(MAGIC, "0 files still hold it, 1 could"), (b"\x00" + VALUE.encode(), "1 files still hold")]
)
def test_a_person_who_is_not_wholly_forgotten_fails_the_command(state: Path, content: bytes, reason: str) -> None:
    (state / "rows.bin").write_bytes(content)
    with pytest.raises(PipelineError, match=reason) as caught:
        said()
    assert caught.value.exit_status == 1
