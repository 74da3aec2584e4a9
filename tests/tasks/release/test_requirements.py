from pathlib import Path

import pytest

from tasks.base.errors import InputError
from tasks.release.requirements import LOCK, SERVING, locked, serving_requirements


def test_the_services_requirements_are_the_locks_own_entries() -> None:
    assert SERVING.read_text() == serving_requirements(), "run: python -m tasks.release.requirements"


def test_every_entry_is_pinned_with_a_hash_and_stands_so_in_the_lock() -> None:
    lock = locked(LOCK.read_text())
    entries = locked(SERVING.read_text())
    assert len(entries) > 30
    for name, entry in entries.items():
        assert lock[name] == entry
        assert "--hash=sha256:" in entry


def test_training_and_orchestration_are_not_among_them() -> None:
    names = locked(SERVING.read_text()).keys()
    assert names.isdisjoint({"tensorflow", "keras", "tf2onnx", "prefect", "great-expectations", "pandas", "torch"})


def test_a_package_that_the_lock_lacks_is_named(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("# made elsewhere\nnumpy==1.0 \\\n    --hash=sha256:aa\n    # via x\n")
    needed = tmp_path / "requirements.in"
    needed.write_text("# comment\nnumpy\nmsgspec\n")
    with pytest.raises(InputError, match=r"requirements.lock does not pin msgspec"):
        serving_requirements(lock, needed)
