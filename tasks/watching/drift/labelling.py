"""What to do about drift that the same data cannot mend: which live texts to label first."""

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from bentos.text_classifier.prediction_log import PredictionRecord
from tasks.base.files import write_whole
from tasks.data.formulas import disarmed
from tasks.data.prediction_log import read_predictions
from tasks.watching.drift.history import looks
from tasks.watching.drift.page import headline

TO_LABEL = "to-label.csv"
MOST_TEXTS = 100


def advice(state: Path, tag: str) -> Iterator[str]:
    """What is to be said when a retrain has made the live version `tag` again, sentence by sentence.

    Where the last look found drift, the texts to label first are written to `state`/drift/to-label.csv.
    """
    taken = looks(state / "drift")
    version = tag.partition(":")[2]
    if not taken or (taken[-1].version, taken[-1].state) != (version, "drift"):
        yield "New labelled rows, feedback or other settings would make another one."
        return
    yield f"The alarm stays: {headline(taken[-1])}"
    yield "The same rows make the same model; rows like the live texts, with their labels, would help."
    if count := write_texts_to_label(state, version):
        place = state / "drift" / TO_LABEL
        yield f"Label these {count:,} live texts first, the least known and least sure ones on top: {place}"
    else:
        yield "Which texts to label first cannot be told: none are recorded (--serve.store-texts records them)."


def write_texts_to_label(state: Path, version: str, most: int = MOST_TEXTS) -> int:
    """Writes the version's recorded texts to `state`/drift/to-label.csv, different ones, and returns how many.

    Those out of scope come first, then those with the lowest scores. Columns: text, answer, score.
    """
    asked = {one.hash: one for one in read_predictions(state / "records") if one.version == version and one.text}
    first = sorted(asked.values(), key=_known)[:most]
    table = pa.table(
        {
            "text": pa.array([one.text for one in first], pa.string()),
            "answer": pa.array([one.label for one in first], pa.string()),
            "score": pa.array([one.score for one in first], pa.float64()),
        }
    )
    if first:
        written = io.BytesIO()
        pacsv.write_csv(disarmed(table).table, written)
        write_whole(state / "drift" / TO_LABEL, written.getvalue().decode())
    return len(first)


def _known(record: PredictionRecord) -> tuple[bool, float]:
    return record.in_scope is not False, 1.0 if record.score is None else record.score
