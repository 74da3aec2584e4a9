"""What a retrain makes of the version that is live."""

import io
import shutil
from pathlib import Path

import pytest

from flows.config import RetrainConfig
from flows.console import Console
from flows.retraining import Retraining
from tasks.base.errors import PipelineError
from tasks.deployment.supervisor.record import Version, change_live
from tasks.release.package import bento_model
from tests.tasks.deployment.supervisor.bento import SERVE, lay_out


def retraining(state: Path) -> tuple[Retraining, io.StringIO]:
    said = io.StringIO()
    return Retraining(RetrainConfig(source="docstrings"), state, Console(said)), said


def test_a_live_version_whose_bento_is_gone_counts_as_none_and_that_is_said(tmp_path: Path) -> None:
    live = Version.of(lay_out(tmp_path), SERVE)
    change_live(tmp_path / "state", live, "deployed")
    run, said = retraining(tmp_path / "state")
    assert run.champion() is not None
    shutil.rmtree(live.path)
    assert run.champion() is None
    assert f"warning: the bento of the live version, {live.tag}, is gone from {live.path}" in said.getvalue()


def test_a_live_version_that_cannot_be_opened_is_an_error_for_a_person(tmp_path: Path) -> None:
    live = Version.of(lay_out(tmp_path), SERVE)
    change_live(tmp_path / "state", live, "deployed")
    (bento_model(live.path) / "model.onnx").write_bytes(b"harmed")
    run, _ = retraining(tmp_path / "state")
    with pytest.raises(PipelineError, match=rf"the live version, {live.tag}, cannot be opened .*flows.rollback"):
        run.champion()
