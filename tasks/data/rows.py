"""Reading a part of the split: all at once where it is small, else in batches."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


class Rows:
    """The rows of a `Dataset`'s Parquet part, in file order (drawn by hash, so any head is a fair sample)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._length = pq.read_metadata(path).num_rows

    def __len__(self) -> int:
        return self._length

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in pq.read_schema(self.path).names

    def column(self, name: str) -> list[Any]:
        """One column as Python values."""
        return pq.read_table(self.path, columns=[name]).column(0).to_pylist()

    def texts(self) -> list[str]:
        return self.column("text")

    def labels(self) -> list[Any]:
        """A class name (single), a list of names (multi) or of {start, end, label} spans (tagging) a row."""
        return self.column("label")

    def targets(self) -> np.ndarray:
        """int32 [rows] (single), int8 [rows, labels] (multi) or the labels as objects [rows] (tagging)."""
        return _array(pq.read_table(self.path, columns=["target"]).column(0).combine_chunks())

    def weights(self) -> np.ndarray:
        """float32 [rows]."""
        return _array(pq.read_table(self.path, columns=["weight"]).column(0).combine_chunks())

    def groups(self) -> np.ndarray:
        """int64 [rows]; rows of one group must not be parted between folds."""
        return _array(pq.read_table(self.path, columns=["group"]).column(0).combine_chunks())

    def batches(self, size: int, columns: Sequence[str] = ("text", "target", "weight")) -> Iterator[dict[str, Any]]:
        """Batches of at most `size` rows: `texts` (list), and where present `targets`, `weights` (arrays).

        Only one row group is held at a time.
        """
        file = pq.ParquetFile(self.path)
        names = [name for name in columns if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_size=size, columns=names):
            yield {
                f"{name}s": batch.column(name).to_pylist() if name == "text" else _array(batch.column(name))
                for name in names
            }


def _array(column: Any) -> np.ndarray:
    if pa.types.is_list(column.type) and pa.types.is_struct(column.type.value_type):
        objects = np.empty(len(column), object)
        objects[:] = column.to_pylist()
        return objects
    if hasattr(column, "flatten") and hasattr(column.type, "value_type"):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return column.to_numpy(zero_copy_only=False)
