"""What every test shares: private homes, the optional parts, the shared data sets."""

import os
import shutil
import tempfile
from pathlib import Path

# Before any test module imports Prefect, BentoML or our flows: nothing of this machine's user is read or written.
_HOME = Path(tempfile.mkdtemp(prefix="model-service-tests-"))
os.environ["MODEL_SERVICE_STATE"] = str(_HOME / "state")
os.environ["PREFECT_HOME"] = str(_HOME / "prefect")
os.environ["BENTOML_HOME"] = str(_HOME / "bentoml")
os.environ.pop("PREFECT_API_URL", None)
for name in ("PREFECT_HOME", "BENTOML_HOME"):
    Path(os.environ[name]).mkdir()

import pytest

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONAL = {
    "browser": ("Chromium is not installed", CHROMIUM is not None),
    "npm": ("Node.js and npm are not installed", shutil.which("npm") is not None and shutil.which("node") is not None),
    "gpu": ("there is no GPU", shutil.which("nvidia-smi") is not None),
}
REQUIRED = os.environ.get("REQUIRE_OPTIONAL") == "1"


def datasets_folder() -> Path:
    """DATASETS_DIR, or `../shared/datasets`; it need not exist."""
    return Path(os.environ.get("DATASETS_DIR") or ROOT.parent / "shared" / "datasets")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark, (reason, there) in OPTIONAL.items():
            # With REQUIRE_OPTIONAL=1 the tests run, and fail, where their program is missing.
            if item.get_closest_marker(mark) and not there and not (REQUIRED and mark != "gpu"):
                item.add_marker(pytest.mark.skip(reason=reason))
        if item.get_closest_marker("datasets") and not datasets_folder().is_dir():
            item.add_marker(pytest.mark.skip(reason=f"there are no data sets in {datasets_folder()}"))


def pytest_sessionfinish() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def datasets() -> Path:
    """The folder of the shared data sets; tests that use it are marked `datasets`."""
    return datasets_folder()


@pytest.fixture(scope="session")
def prefect_server():
    """A real Prefect API on a private database, one for the whole session because it takes ten seconds to start."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield
