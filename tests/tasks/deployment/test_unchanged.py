"""A version that would only be deployed again is not."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.base.manifests import Package
from tasks.base.settings import SecuritySettings
from tasks.deployment.deploy import deploy
from tasks.deployment.supervisor import lifecycle
from tasks.deployment.supervisor.record import history, read_live
from tasks.deployment.unchanged import unchanged
from tests.tasks.deployment.supervisor.bento import SERVE, known, lay_out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unchanged")


@pytest.fixture(scope="module")
def live(folder: Path) -> Iterator[Package]:
    package = lay_out(folder).model_copy(update={"made_of": "m"})
    deploy(package, SERVE, known(1), folder / "state")
    yield package
    lifecycle.stop(folder / "state")


@pytest.mark.parametrize("running", [True, False])
def test_the_same_as_live_is_named_and_answers(folder: Path, live: Package, running: bool) -> None:
    if not running:
        lifecycle.stop(folder / "state")
    before = read_live(folder / "state")
    found = unchanged("m", SERVE, SecuritySettings(), folder / "state")
    assert found
    assert (found.tag, found.state) == (live.tag, "unchanged")
    status = lifecycle.status(folder / "state")
    assert status
    assert (status["url"], status["tag"]) == (found.url, live.tag)
    assert read_live(folder / "state") == before
    assert [entry["event"] for entry in history(folder / "state")] == ["deployed"]


@pytest.mark.parametrize(
    ("made_of", "serve", "security"),
    [
        ("n", {}, {}),
        ("m", {"max_queue": 7}, {}),
        ("m", {"port": 1}, {}),
        ("m", {}, {"require_keys": True}),
    ],
    ids=["model", "settings", "port", "security"],
)
def test_whatever_differs_is_deployed(
    folder: Path, live: Package, made_of: str, serve: dict[str, Any], security: dict[str, Any]
) -> None:
    asked = SERVE.model_copy(update=serve), SecuritySettings(**security)
    assert unchanged(made_of, *asked, folder / "state") is None


def test_nothing_live_and_a_live_version_whose_bento_is_gone_are_no_reason_to_stay(
    folder: Path, live: Package, tmp_path: Path
) -> None:
    assert unchanged("m", SERVE, SecuritySettings(), tmp_path) is None
    (tmp_path / "live.json").write_text(
        (folder / "state" / "live.json").read_text().replace(str(live.path), str(tmp_path / "gone"))
    )
    assert unchanged("m", SERVE, SecuritySettings(), tmp_path) is None
    shutil.rmtree(tmp_path / "serving", ignore_errors=True)
