"""What the gate asks: one file a question, found by importing this package's modules."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from bentos.text_classifier.model import TextModel
from tasks.base.manifests import Evaluation, Optimised
from tasks.base.settings import Budget, GateSettings
from tasks.verdict.evaluate import answers


@dataclass(frozen=True)
class Check:
    """One question of the gate: what was asked for, what was found, and the p-value where a test decides."""

    name: str
    passed: bool
    found: str
    wanted: str
    p_value: float | None = None
    figure: float | None = None

    def record(self) -> dict[str, object]:
        return {
            "name": self.name,
            "passed": self.passed,
            "found": self.found,
            "wanted": self.wanted,
            "figure": self.figure,
            "p_value": self.p_value,
        }


@dataclass(frozen=True)
class Tested:
    """The test rows: texts, true answers and the model's, each as comparable text, and bool [rows] right."""

    texts: list[str]
    truths: list[str]
    correct: np.ndarray

    @classmethod
    def read(cls, predictions: Path) -> "Tested":
        table = pq.read_table(predictions)
        return cls(
            table["text"].to_pylist(),
            [comparable(label) for label in table["label"].to_pylist()],
            table["correct"].to_numpy(zero_copy_only=False).astype(bool),
        )


@dataclass(frozen=True)
class Case:
    """What a question may look at; `champion` is the model that is live, if any is."""

    tested: Tested
    evaluation: Evaluation
    optimised: Optimised
    champion: TextModel | None
    settings: GateSettings
    budget: Budget


class Question(NamedTuple):
    """A question of the gate.

    `ask` gives a check for each thing that it looked at; none where the question does not arise. `rank` is the
    question's place in the report.
    """

    name: str
    rank: int
    ask: Callable[[Case], Iterable[Check]]


_REGISTRY: dict[str, Question] = {}


def register(question: Question) -> Question:
    """Makes the gate ask this."""
    _REGISTRY[question.name] = question
    return question


def questions() -> list[Question]:
    """Every question in the order of the report; importing the modules here makes each register itself."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return sorted(_REGISTRY.values(), key=lambda question: (question.rank, question.name))


def answers_of(model: TextModel, texts: list[str]) -> list[str]:
    """The model's whole answer for each text, in the form of `comparable`."""
    return [comparable(label) for label, _ in answers(model, model.logits(texts), texts)]


def comparable(label: object) -> str:
    """A label, or several in order (`nothing` for none), as a text that is equal for equal answers."""
    return " | ".join(sorted(map(str, label))) or "nothing" if isinstance(label, list) else str(label)
