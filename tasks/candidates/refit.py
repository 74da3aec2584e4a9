"""The chosen structure trained once more with the rows that it was chosen by."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.base.manifests import Dataset
from tasks.candidates.cross_validation import with_parts

KEPT_BACK = 0.2
"""Share of the validation part that is not trained on even then, at least `LEAST` rows or half of it.

Early stopping, the comparison of variants, temperature, thresholds and the scope rule need rows that the model did not
see: they are fitted on these alone.
"""

LEAST = 100


def refit_dataset(dataset: Dataset, folder: Path) -> Dataset:
    """The data set with most of its validation part moved to the training part, written into `folder`.

    Rows of one group stay together; the kept-back ones are the first of the part, whose order is random.
    """
    training, validation = (pq.read_table(part) for part in (dataset.train, dataset.validation))
    rows = len(validation)
    kept = max(round(KEPT_BACK * rows), min(LEAST, rows // 2), 1)
    if "group" in validation.column_names:
        groups = np.asarray(validation["group"].to_pylist(), dtype=object)
        while kept < rows and groups[kept] == groups[kept - 1]:
            kept += 1
    merged = pa.concat_tables([training, validation.slice(kept)], promote_options="default")
    order = np.random.default_rng(len(merged)).permutation(len(merged))
    return with_parts(
        dataset,
        {
            "train": (merged.take(order), folder / "train.parquet"),
            "validation": (validation.slice(0, kept), folder / "validation.parquet"),
        },
    )
