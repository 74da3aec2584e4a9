"""Personal data kept out of what the pipeline stores, by the policy `data.personal_data`."""

import hashlib
import hmac
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from bentos.serving.records.personal_data import Policy, Redactor
from bentos.serving.records.pseudonyms import records_key
from tasks.data.person_names import name_finder

REASON = "personal data"


def redactor(policy: Policy, state: Path, names: str | None = None) -> Redactor | None:
    """What ingest passes texts through, None where everything is kept; hashes by a key that stays in `state`.

    Args:
        names: the spaCy model by which names are found too.

    Raises:
        InputError: names cannot be found by it.
    """
    if policy == "keep":
        return None
    key = records_key(state / "records") if policy == "hash" else b""
    if names is None:
        return Redactor(policy, key)
    return Redactor(policy, key, name_finder(names))


def keyed_content(content: str, state: Path) -> str:
    """A stand-in for a content hash of rows by which nobody without the state folder can check a guess of them."""
    return hmac.new(records_key(state / "records"), content.encode(), hashlib.sha256).hexdigest()


def without_personal_data(
    batches: Iterator[pa.RecordBatch], personal: Redactor, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The batches with the string `columns` redacted; under `drop` rows that held some get the reason for it."""
    for batch in batches:
        dropped = [False] * batch.num_rows
        for name in columns:
            if name not in batch.schema.names or not is_text(batch.schema.field(name).type):
                continue
            position = batch.schema.get_field_index(name)
            values = batch.column(position).to_pylist()
            masked = [value if value is None else personal.masked(value) for value in values]
            if personal.policy == "drop":
                dropped = [before or value != kept for before, value, kept in zip(dropped, values, masked, strict=True)]
            batch = batch.set_column(
                position, batch.schema.field(name), pa.array(masked, batch.schema.field(name).type)
            )
        if any(dropped):
            position = batch.schema.get_field_index("reason")
            reasons = batch.column(position).to_pylist()
            reasons = [reason or (REASON if drop else None) for reason, drop in zip(reasons, dropped, strict=True)]
            field = batch.schema.field("reason")
            batch = batch.set_column(position, field, pa.array(reasons, field.type))
        yield batch


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
