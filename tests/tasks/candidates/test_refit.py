from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.base.manifests import Dataset
from tasks.candidates.refit import refit_dataset
from tasks.data.rows import Rows
from tests.tasks.judged import dataset, rows


def split(folder: Path, validation: int) -> Dataset:
    parts = {"train": rows(900, 1), "validation": rows(validation, 2), "test": rows(10, 3)}
    made = dataset(folder / "data", parts)
    (folder / "refit").mkdir()
    return made


def test_most_validation_rows_are_trained_on_and_none_is_lost(tmp_path: Path) -> None:
    before = split(tmp_path, 1000)
    after = refit_dataset(before, tmp_path / "refit")
    assert after.rows == {"train": 1700, "validation": 200, "test": 10}
    texts = [Counter(Rows(one.train).texts()) + Counter(Rows(one.validation).texts()) for one in (before, after)]
    assert texts[0] == texts[1]
    assert after.test == before.test
    assert after.content != before.content


def test_rows_to_calibrate_by_are_never_trained_on(tmp_path: Path) -> None:
    after = refit_dataset(split(tmp_path, 300), tmp_path / "refit")
    kept = Rows(after.validation).texts()
    assert len(kept) == 100
    assert not set(kept) & set(Rows(after.train).texts())


def test_of_a_small_part_half_is_kept_back(tmp_path: Path) -> None:
    assert refit_dataset(split(tmp_path, 50), tmp_path / "refit").rows["validation"] == 25


def test_equal_texts_are_not_parted(tmp_path: Path) -> None:
    before = split(tmp_path, 50)
    table = pq.read_table(before.validation)
    groups = pa.array(["a"] * 24 + ["b"] * 10 + ["c"] * 16)
    pq.write_table(table.set_column(table.column_names.index("group"), "group", groups), before.validation)
    assert refit_dataset(before, tmp_path / "refit").rows["validation"] == 34
