"""A deployment of its own for every test module, ended with all of its processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.base.manifests import Package
from tasks.deployment.supervisor import lifecycle, processes
from tasks.deployment.supervisor.record import Version
from tests.tasks.deployment.supervisor.bento import SERVE, lay_out


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("deployment")


@pytest.fixture(scope="module")
def packages(folder: Path) -> list[Package]:
    """Three good versions, v1 to v3."""
    return [lay_out(folder, step) for step in (1, 2, 3)]


@pytest.fixture(scope="module")
def versions(packages: list[Package]) -> list[Version]:
    return [Version.of(package, SERVE) for package in packages]


@pytest.fixture(scope="module")
def state(folder: Path) -> Iterator[Path]:
    state = folder / "state"
    yield state
    lifecycle.stop(state)
    assert processes.find(state) == []
