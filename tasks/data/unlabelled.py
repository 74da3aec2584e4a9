"""Stage: read texts without labels, from which a student learns its teacher's answers."""

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bentos.serving.records.personal_data import Redactor
from tasks.base.manifests import Record, content_of
from tasks.base.settings import SourceSettings
from tasks.data.personal_data import without_personal_data
from tasks.data.sources import Reading, source_of

_SCHEMA = pa.schema({"text": pa.string()})


class Unlabelled(Record):
    """Parquet with one column, text."""

    path: Path
    rows: int
    content: str

    def texts(self) -> list[str]:
        return pq.read_table(self.path)["text"].to_pylist()


def read_unlabelled(
    source: str, folder: Path, personal: Redactor | None = None, data_key: str | None = None
) -> Unlabelled:
    """The source's usable texts, in `folder`/texts.parquet.

    Args:
        personal: what texts pass through, as the labelled ones did at ingest.
        data_key: source of the key that opens texts which are sealed.

    Raises:
        InputError: there is no such source, or it cannot be read.
    """
    path, rows = folder / "texts.parquet", 0
    with tempfile.TemporaryDirectory() as scratch, pq.ParquetWriter(path, _SCHEMA) as file:
        reading = Reading(SourceSettings(source=source, data_key=data_key), Path(scratch), labelled=False)
        batches = source_of(source).read(reading)
        for batch in batches if personal is None else without_personal_data(batches, personal, ["text"]):
            pairs = zip(batch["text"].to_pylist(), batch["reason"].to_pylist(), strict=True)
            found = [text for text, reason in pairs if reason is None and text and text.strip()]
            file.write_table(pa.table({"text": found}, schema=_SCHEMA))
            rows += len(found)
    return Unlabelled(path=path, rows=rows, content=content_of(path))
