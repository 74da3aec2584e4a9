"""Rows encoded once, kept ragged, batched by length."""

from pathlib import Path

import numpy as np
import pytest

import tasks.learning.examples
from tasks.learning.examples import Examples, Ragged, encode, encode_part, training_texts
from tasks.learning.ngrams import fit_grams
from tasks.learning.tokenisers import fit_tokeniser
from tests.tasks.toy import make_dataset, make_texts


def examples(folder: Path, rows: int = 100, block_bytes: int = 1 << 20) -> tuple[Examples, list[str], np.ndarray]:
    texts, targets = make_texts(rows, seed=2)
    texts[3] = ""
    parts = [(texts[start : start + 16], targets[start : start + 16]) for start in range(0, rows, 16)]
    weighted = [(some, wanted, np.arange(len(some), dtype=np.float32)) for some, wanted in parts]
    tokens = fit_tokeniser(texts, size=80, max_length=16)
    grams = fit_grams(texts, weighting="mean")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks.learning.examples, "BLOCK_BYTES", block_bytes)
        return encode(weighted, [tokens, grams], folder), texts, targets


def test_padding_and_cutting_undo_each_other() -> None:
    ids = np.array([[5, 6, 0, 0], [0, 0, 0, 0], [1, 0, 3, 0]], np.int32)
    weights = np.where(ids > 0, 0.5, 0.0).astype(np.float32)
    ragged = Ragged.of({"ids": ids, "weights": weights}, padding=0)
    assert ragged.lengths.tolist() == [2, 0, 3]
    padded = ragged.padded(np.array([2, 1, 0]))
    assert padded["ids"].tolist() == [[1, 0, 3], [0, 0, 0], [5, 6, 0]]
    assert padded["weights"].tolist() == [[0.5, 0.0, 0.5], [0.0] * 3, [0.5, 0.5, 0.0]]
    assert ragged.padded(np.array([1]))["ids"].shape == (1, 1)
    assert ragged.padded(np.array([0]), multiple=8)["ids"].shape == (1, 8)


def test_an_epoch_has_every_row_once_with_its_target(tmp_path: Path) -> None:
    whole, texts, targets = examples(tmp_path / "e")
    assert len(whole) == len(texts)
    seen = np.concatenate([batch.targets for batch in whole.epoch(8, np.random.default_rng(1))])
    assert np.bincount(seen).tolist() == np.bincount(targets).tolist()
    assert whole.steps(8) == len(list(whole.epoch(8, np.random.default_rng(1))))


def test_batches_hold_rows_of_like_length(tmp_path: Path) -> None:
    whole, _, _ = examples(tmp_path / "e", rows=400)
    lengths = whole.block(0).lengths
    computed = sum(
        max(array.shape[1] for array in batch.inputs.values()) * len(batch.weights)
        for batch in whole.epoch(8, np.random.default_rng(1))
    )
    assert computed < 1.1 * lengths.sum()


def test_orders_differ_by_epoch_and_repeat_by_seed(tmp_path: Path) -> None:
    whole, _, _ = examples(tmp_path / "e")
    orders = [[batch.targets.tolist() for batch in whole.epoch(8, np.random.default_rng([7, e]))] for e in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]


def test_blocks_on_disk_give_the_same_rows_as_one_in_memory(tmp_path: Path) -> None:
    one, texts, _ = examples(tmp_path / "one")
    many, _, _ = examples(tmp_path / "many", block_bytes=500)
    assert len(one.files) == 1
    assert len(many.files) > 3
    assert len(many) == len(texts)
    everything = one.block(0)
    first = many.block(0)
    rows = np.arange(len(first.targets))
    for name, array in first.batch(rows).inputs.items():
        assert np.array_equal(array, everything.batch(rows).inputs[name])
    assert sum(len(batch.targets) for batch in many.epoch(8, np.random.default_rng(1))) == len(texts)


def test_a_finished_encoding_is_used_again_and_an_unfinished_one_is_not(tmp_path: Path) -> None:
    whole, _, _ = examples(tmp_path / "e")
    stamp = whole.files[0].stat().st_mtime_ns
    again, _, _ = examples(tmp_path / "e")
    assert again.files[0].stat().st_mtime_ns == stamp
    (tmp_path / "f.part").mkdir()
    (tmp_path / "f.part" / "00000.npz").write_bytes(b"cut")
    assert len(examples(tmp_path / "f")[0]) == 100


def test_a_part_of_a_data_set_is_read(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", task="multi", rows=40)
    encoder = fit_tokeniser(training_texts(dataset), size=80, max_length=16)
    part = encode_part(dataset, "train", [encoder], tmp_path / "train")
    assert part.block(0).targets.shape == (40, 3)
    assert part.block(0).targets.dtype == np.float32
