"""The file from which a training goes on."""

from pathlib import Path

import numpy as np

from tasks.learning.checkpoint import Checkpoint


def test_what_was_saved_last_is_loaded(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "deep" / "c.npz", "key")
    assert checkpoint.load() is None
    checkpoint.save({"state": [np.arange(3)], "best": []}, {"step": 1})
    checkpoint.save({"state": [np.arange(4), np.array(2.5)], "best": []}, {"step": 2, "curves": {"loss": [0.1]}})
    saved = checkpoint.load()
    assert saved is not None
    assert [array.tolist() for array in saved.arrays["state"]] == [[0, 1, 2, 3], 2.5]
    assert saved.arrays["best"] == []
    assert saved.values == {"step": 2, "curves": {"loss": [0.1]}}
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["c.npz"]


def test_another_key_is_not_taken_up(tmp_path: Path) -> None:
    Checkpoint(tmp_path / "c.npz", "one").save({}, {})
    assert Checkpoint(tmp_path / "c.npz", "other").load() is None


def test_a_write_that_was_cut_leaves_the_one_before(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "c.npz", "key")
    checkpoint.save({}, {"step": 1})
    (tmp_path / "c.npz.part").write_bytes(b"cut")
    saved = checkpoint.load()
    assert saved is not None
    assert saved.values == {"step": 1}
