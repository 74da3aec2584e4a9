"""What a training needs to go on exactly where it was, in one file that is never half-written."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Saved(NamedTuple):
    """Groups of arrays (weights, optimiser state) and the plain values beside them."""

    arrays: dict[str, list[np.ndarray]]
    values: dict[str, Any]


class Checkpoint:
    """`key` stands for what is trained: a file written under another key is not taken up."""

    def __init__(self, path: Path, key: str) -> None:
        self.path = path
        self.key = key

    def save(self, arrays: Mapping[str, Sequence[np.ndarray]], values: Mapping[str, Any]) -> None:
        """Replaces the file; `values` have a JSON form."""
        flat = {f"{group}/{index}": array for group, each in arrays.items() for index, array in enumerate(each)}
        groups = {name: len(each) for name, each in arrays.items()}
        head = json.dumps({"key": self.key, "groups": groups, "values": dict(values)}).encode()
        unfinished = self.path.with_name(self.path.name + ".part")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as stream:
            np.savez(stream, allow_pickle=False, head=np.frombuffer(head, np.uint8), **flat)
        unfinished.replace(self.path)

    def load(self) -> Saved | None:
        """What was saved last; None when nothing was, or for another training."""
        if not self.path.exists():
            return None
        with np.load(self.path, allow_pickle=False) as stored:
            head = json.loads(stored["head"].tobytes())
            if head["key"] != self.key:
                return None
            groups = head["groups"].items()
            arrays = {name: [stored[f"{name}/{index}"] for index in range(count)] for name, count in groups}
            return Saved(arrays, head["values"])

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
