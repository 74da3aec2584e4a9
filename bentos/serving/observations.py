"""What a relay is told to do, and what it saw of two versions."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import msgspec

from bentos.serving.records.appending import whole_lines

logger = logging.getLogger(__name__)


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done with a `share` of the requests to /predict; what was seen goes into the folder `observations`."""

    port: int
    share: float
    answers: Literal["own", "other", "rescue"]
    observations: str
    timeout: float = 10.0


class Pair(msgspec.Struct, frozen=True, array_like=True):
    """One request answered by both versions; `differ` of its `texts` got other labels."""

    own_ok: bool
    other_ok: bool
    own_ms: float
    other_ms: float
    texts: int
    differ: int


class Observed(msgspec.Struct, frozen=True):
    """What one worker saw in half a second: requests under the rule, those that it failed itself, and pairs."""

    requests: int = 0
    failed: int = 0
    pairs: list[Pair] = []


def read_observed(folder: Path, ignored: Collection[int] = ()) -> Observed:
    """What all workers have seen so far, but for those with the process ids `ignored`."""
    requests, failed, pairs = 0, 0, []
    for file in sorted(folder.glob("*.jsonl")):
        if int(file.stem) in ignored:
            continue
        for line in whole_lines(file):
            try:
                observed = msgspec.json.decode(line, type=Observed)
            except msgspec.MsgspecError:
                logger.warning("%s holds what is left of a line", file)
                continue
            requests += observed.requests
            failed += observed.failed
            pairs += observed.pairs
    return Observed(requests, failed, pairs)
