"""What every test shares: private homes, what is run where, the optional parts, the shared data sets.

`make test` shares the tests out over a worker a CPU and one more. Tests of one file stay together and in their
order, for the sake of its fixtures; files with slow tests come first, so that no worker ends long after the others.
By file, and not by the mark `xdist_group`, which xdist 3.8 silently loses under pytest 9.2.
Every worker must find the same tests: no parameter of a test may hold a time, a process id or anything drawn.

`make quick` (`pytest --quick`) runs the tests of logic. Nobody marks them: a test leaves the quick run by itself when
it or its fixtures start a process or import one of `HEAVY`. The marks in `LEFT_OUT` are left out beforehand.
"""

import os
import shutil
import subprocess
import sys
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
if "PYTEST_XDIST_WORKER" in os.environ:
    # Each worker has a CPU: libraries that take all of them for their threads fight for them.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, "1")

import psutil
import pytest

import flows  # noqa: F401 (Prefect reads its settings, the secret among them, when it is first imported)
from bentos.serving.cpus import allowed_cpus

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def _traces() -> bool:
    """Whether `strace` is there and allowed to look at a program, which a container may forbid."""
    strace = shutil.which("strace")
    command = [str(strace), "-f", "--seccomp-bpf", "-qq", "-o", os.devnull, "true"]
    return strace is not None and subprocess.run(command, capture_output=True).returncode == 0


OPTIONAL = {
    "browser": ("Chromium is not installed", CHROMIUM is not None),
    "npm": ("Node.js and npm are not installed", shutil.which("npm") is not None and shutil.which("node") is not None),
    "strace": ("strace is not installed, or may not trace", _traces()),
    "gpu": ("there is no GPU", shutil.which("nvidia-smi") is not None),
}
REQUIRED = os.environ.get("REQUIRE_OPTIONAL") == "1"
WORKER_BYTES = 2 << 30
"""Memory of a worker that has imported everything."""
HEAVY = {"tensorflow", "keras", "great_expectations"}
"""Packages whose import alone takes seconds in every worker."""
LEFT_OUT = ("slow", "browser", "npm", "datasets")
"""Marks of tests that the quick run does not even begin."""


def datasets_folder() -> Path:
    """DATASETS_DIR, or `../shared/datasets`; it need not exist."""
    return Path(os.environ.get("DATASETS_DIR") or ROOT.parent / "shared" / "datasets")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only the tests of logic; see tests/conftest.py")


def pytest_configure(config: pytest.Config) -> None:
    # With xdist the tests run in the workers, which are processes themselves.
    if config.getoption("quick") and ("PYTEST_XDIST_WORKER" in os.environ or not config.getoption("numprocesses")):
        sys.addaudithook(_leave_when_slow)


def _leave_when_slow(event: str, arguments: tuple[object, ...]) -> None:
    # The standard library's `platform` asks uname.
    if event in ("subprocess.Popen", "os.fork", "os.posix_spawn") and arguments[:1] != ("uname",):
        pytest.skip("not quick: a process is started", allow_module_level=True)
    if event == "import" and str(arguments[0]).partition(".")[0] in HEAVY:
        pytest.skip("not quick: a heavy package is imported", allow_module_level=True)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    # One more than there are CPUs, since there is always a test that waits for a process; those of logic never do.
    wanted = allowed_cpus() + (0 if config.getoption("quick") else 1)
    return max(1, min(wanted, psutil.virtual_memory().available // WORKER_BYTES))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        for mark, (reason, there) in OPTIONAL.items():
            # With REQUIRE_OPTIONAL=1 the tests run, and fail, where their program is missing.
            if item.get_closest_marker(mark) and not there and not (REQUIRED and mark != "gpu"):
                item.add_marker(pytest.mark.skip(reason=reason))
        if item.get_closest_marker("datasets") and not datasets_folder().is_dir():
            item.add_marker(pytest.mark.skip(reason=f"there are no data sets in {datasets_folder()}"))
    if config.getoption("quick"):
        left = [item for item in items if any(item.get_closest_marker(mark) for mark in LEFT_OUT)]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


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

    with prefect_test_harness(server_startup_timeout=300):
        yield
