"""A live version with reference statistics, and traffic and feedback as its service would have recorded them."""

import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from bentos.text_classifier.decoding import Options
from bentos.text_classifier.feedback import FeedbackRecord
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.prediction_log import PredictionLog
from bentos.text_classifier.settings import Settings
from tasks.base.files import write_whole
from tasks.base.manifests import Dataset, Profile
from tasks.base.settings import ServeSettings
from tasks.deployment.supervisor.record import LIVE, Live, Version
from tasks.release.package import bento_model
from tasks.watching.drift import reference_statistics
from tests.bentos.text_classifier.model_folder import WORDS, grams_folder, sentence

LABELS = list(WORDS)
STRANGE = ["Пожалуйста, верните мои деньги " + "!" * number for number in range(100)]
"""Unlike anything that the version was accepted on."""


def texts(rows: int, seed: int = 1) -> list[str]:
    random = Random(seed)
    return [f"{sentence(LABELS[row % 3], 1 + row % 5)} {random.randint(1000, 9999)}" for row in range(rows)]


def make_live(state: Path, bento: Path) -> None:
    """Makes `text_classifier:v1` in the folder `bento` the live version of `state`; nothing serves it."""
    folder = grams_folder(bento_model(bento))
    path = bento.parent / "rows.parquet"
    pq.write_table(pa.table({"text": texts(300), "label": [LABELS[row % 3] for row in range(300)]}), path)
    profile = Profile(scripts={}, language="en", characters={}, tokens={}, total_tokens=0, imbalance=1.0)
    dataset = Dataset(
        task="single", labels=LABELS, train=path, validation=path, test=path, rows={}, profile=profile, max_length=9,
        content="c",
    )  # fmt: skip
    reference_statistics(dataset, folder, folder, ("validation",))
    version = Version(tag="text_classifier:v1", path=bento, content="c", serve=ServeSettings())
    write_whole(state / LIVE, Live(versions=[version], since=datetime.now(UTC)).model_dump_json())


def ask(state: Path, bento: Path, asked: list[str]) -> None:
    """Records the version's answers to `asked`."""
    model = TextModel.load(bento_model(bento))
    log = PredictionLog(state / "records", model, "v1", Settings())
    answers = model.predict(asked)
    for number, answer in enumerate(answers):
        answer.id = str(number)
    log.add(asked, answers, "client", Options())
    log.close()


def tell(state: Path, count: int) -> None:
    """Records so much feedback."""
    now = time.time() + 1
    told = [FeedbackRecord(now + number, str(number), f"text {number}", "food", "v1", "a") for number in range(count)]
    (state / "records").mkdir(exist_ok=True)
    lines = b"".join(msgspec.json.encode(record) + b"\n" for record in told)
    (state / "records" / "feedback-1.jsonl").write_bytes(lines)
