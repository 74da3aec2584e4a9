from pathlib import Path

import pytest

from flows.beforehand import check
from flows.config import RetrainConfig
from tasks.errors import InputError


def refusal(**parameters: object) -> str:
    with pytest.raises(InputError) as refused:
        check(RetrainConfig.model_validate(parameters))
    return str(refused.value)


def test_a_report_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert refusal(report=tmp_path) == f"--report: {tmp_path} is a folder; give the path of a file"
    assert refusal(report=file / "new" / "out.json").endswith(f"{file} is a file, not a folder")


def test_a_report_may_replace_a_file_and_stand_in_a_new_folder(tmp_path: Path) -> None:
    (tmp_path / "out.json").write_text("{}")
    check(RetrainConfig(report=tmp_path / "out.json"))
    check(RetrainConfig(report=tmp_path / "new" / "out.json"))
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
