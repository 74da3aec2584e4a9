"""What live traffic is compared with: the model's answers on accepted rows that it was not trained on."""

from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bentos.serving.model_folder import reader
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.prediction_log import named_label, observe
from bentos.text_classifier.scope import ScopeRule
from tasks.base.errors import InputError
from tasks.base.manifests import Dataset
from tasks.data.rows import Rows

REFERENCE = "reference.parquet"
MOST_ROWS = 4_000
"""More would not make the tests much sharper: the smaller of both samples limits them."""

_BATCH = 64


def reference_statistics(
    dataset: Dataset, model: Path, folder: Path, parts: tuple[str, ...] = ("validation", "test")
) -> Path:
    """Writes `folder`/reference.parquet: statistics of at most `MOST_ROWS` held-out rows, without their texts.

    The columns are those of a prediction record that describe text and answer, and `correct`.

    Args:
        model: the model folder that will be served.
        parts: of `train`, `validation` and `test`, those that were drawn from the accepted source and not
            trained on; a test set from a source of its own may have another distribution of labels.

    Raises:
        InputError: the parts have no rows.
    """
    opened = TextModel.load(model)
    rule = ScopeRule(opened.manifest.scope) if opened.manifest.scope else None
    paths = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}
    texts, labels = [], []
    share = {part: Rows(paths[part]) for part in parts}
    total = sum(len(rows) for rows in share.values())
    if not total:
        raise InputError(f"no row of the sets {', '.join(parts)} is left to compare live traffic with")
    for rows in share.values():
        # The parts are in the order of a hash, so that the head of each is a fair sample of it.
        kept = min(len(rows), round(MOST_ROWS * len(rows) / total))
        texts += rows.texts()[:kept]
        labels += rows.labels()[:kept]
    records = []
    for start in range(0, len(texts), _BATCH):
        some = texts[start : start + _BATCH]
        answers = opened.predict(some)
        for seen, answer, label in zip(observe(some, rule), answers, labels[start : start + _BATCH], strict=True):
            records.append(
                msgspec.structs.asdict(seen)
                | {"label": named_label(answer), "score": answer.score, "in_scope": answer.in_scope}
                | {"correct": _is_right(answer.label, label)}
            )
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{REFERENCE}"
    pq.write_table(pa.Table.from_pylist(records, schema=SCHEMA), unfinished, compression="zstd")
    unfinished.replace(folder / REFERENCE)
    return folder / REFERENCE


SCHEMA = pa.schema(
    [
        ("characters", pa.int64()),
        ("words", pa.int64()),
        ("script", pa.string()),
        ("capitals", pa.float64()),
        ("digits", pa.float64()),
        ("marks", pa.float64()),
        ("ending", pa.string()),
        ("rarity", pa.float64()),
        ("unknown", pa.float64()),
        ("sketch", pa.string()),
        ("label", pa.string()),
        ("score", pa.float64()),
        ("in_scope", pa.bool_()),
        ("correct", pa.bool_()),
    ]
)


def _is_right(answer: str | None, label: object) -> bool | None:
    """Whether a single label was found; None where an answer is more than that."""
    return answer == label if isinstance(label, str) else None


def read_reference(path: Path, key: str | None = None) -> pa.Table:
    """The statistics written by `reference_statistics`, by `key` in a sealed model folder.

    Raises:
        InputError: the file is not there, cannot be opened, or is damaged.
    """
    try:
        return pq.read_table(pa.BufferReader(reader(path.parent, key)(path.name)), schema=SCHEMA)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: the reference statistics cannot be read ({error}); a version that was packaged without them "
            "cannot be watched, retrain it."
        ) from error
