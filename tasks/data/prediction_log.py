"""Reading what the service recorded: predictions and feedback, in the order of its files."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from bentos.text_classifier.feedback import FeedbackRecord
from bentos.text_classifier.prediction_log import KIND, PredictionRecord

logger = logging.getLogger(__name__)

Kind = TypeVar("Kind", bound=msgspec.Struct)


def read_predictions(folder: Path) -> Iterator[PredictionRecord]:
    """The predictions recorded in `folder`."""
    return _records(folder, KIND, PredictionRecord)


def read_feedback(folder: Path) -> Iterator[FeedbackRecord]:
    """The feedback recorded in `folder`."""
    return _records(folder, "feedback", FeedbackRecord)


def _records(folder: Path, kind: str, record: type[Kind]) -> Iterator[Kind]:
    """Every whole line of the kind; a line cut off by a crash, or still being written, is no record."""
    decoder = msgspec.json.Decoder(record)
    for file in sorted(folder.glob(f"{kind}-*.jsonl")):
        try:
            stream = file.open("rb")
        except FileNotFoundError:
            # The service removes its oldest file when room is needed.
            continue
        unreadable = 0
        with stream:
            for line in stream:
                try:
                    yield decoder.decode(line)
                except msgspec.MsgspecError:
                    unreadable += line.endswith(b"\n")
        if unreadable:
            logger.warning("%s: %d lines are no %s of this version and were left out", file, unreadable, kind)
