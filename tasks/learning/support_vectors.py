"""Linear support vector machines: solving them, and choosing their settings by held-out rows.

The weights are liblinear's (Fan et al. 2008): squared hinge, one label against the rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix, vstack
from scipy.special import log_expit
from sklearn.model_selection import KFold
from sklearn.svm import LinearSVC

from tasks.base.manifests import Dataset
from tasks.kinds.registry import KINDS
from tasks.kinds.scaling import sigmoid_line
from tasks.learning.examples import read_part
from tasks.learning.job import Job
from tasks.learning.recipe import IMBALANCE

# With fewer rows than this a validation part alone is too noisy to choose by; folds of all rows are cheap.
FOLDED_ROWS = 8_000
FOLDS = 5


@dataclass(frozen=True)
class Part:
    """Rows in memory: targets int32 [rows], or 0/1 [rows, labels] for multi-label."""

    texts: list[str]
    targets: np.ndarray
    weights: np.ndarray

    @classmethod
    def read(cls, dataset: Dataset, part: str, most: int | None = None) -> "Part":
        """The part's rows, at most the first `most` of them; a split's rows stand in random order."""
        texts: list[str] = []
        targets, weights = [], []
        for some, some_targets, some_weights in read_part(dataset, part):
            texts += some
            targets.append(some_targets)
            weights.append(some_weights)
            if most is not None and len(texts) >= most:
                break
        return cls(texts[:most], np.concatenate(targets)[:most], np.concatenate(weights)[:most])


class Strength(NamedTuple):
    """LinearSVC's C, and whether every class is weighed by the inverse of its frequency."""

    c: float
    balanced: bool


@dataclass(frozen=True)
class Solution:
    """`table` float32 [features, labels] and `bias` float32 [labels]."""

    table: np.ndarray
    bias: np.ndarray

    def logits(self, matrix: csr_matrix) -> np.ndarray:
        return np.asarray(matrix @ self.table) + self.bias

    def along(self, scale: float, shift: float) -> "Solution":
        """The solution whose logits are `scale` times these plus `shift`."""
        return Solution(scale * self.table, scale * self.bias + np.float32(shift))


def solve(
    matrix: csr_matrix, targets: np.ndarray, weights: np.ndarray, labels: int, strength: Strength, seed: int
) -> Solution:
    """One machine a label.

    Args:
        matrix: float [rows, features].
        targets: int [rows], or 0/1 [rows, labels] for multi-label.
        weights: of the rows.
    """
    _, features = matrix.get_shape()
    table = np.zeros((features, labels), np.float32)
    # A label without a training row is never the answer.
    bias = np.full(labels, -1.0, np.float32)
    columns: list[tuple[np.ndarray, Any]] = []
    if targets.ndim == 1:
        columns.append((targets, np.unique(targets)))
    else:
        columns.extend((targets[:, label].astype(np.int32), [label]) for label in range(labels))
    for wanted, places in columns:
        if len(np.unique(wanted)) < 2:
            bias[places] = 1.0 if targets.ndim == 1 or wanted[0] else -1.0
            continue
        machine = LinearSVC(C=strength.c, class_weight="balanced" if strength.balanced else None, random_state=seed)
        machine.fit(matrix, wanted, sample_weight=weights)
        coefficients, intercepts = machine.coef_, machine.intercept_
        if targets.ndim == 1 and len(places) == 2:
            # liblinear gives two classes one machine: its decision speaks for the second, against the first.
            coefficients = np.vstack([-coefficients, coefficients])
            intercepts = np.concatenate([-intercepts, intercepts])
        table[:, places] = coefficients.T
        bias[places] = intercepts
    return Solution(table, bias)


@dataclass(frozen=True)
class Judged:
    """A solution from the training part with its validation logits; `score` is what settings are compared by.

    It is of the logits and targets `held_out`.
    """

    score: float
    strength: Strength
    solution: Solution
    logits: np.ndarray
    held_out: tuple[np.ndarray, np.ndarray]


class Machines:
    """Solves and scores machines for one job, over whatever features the caller has."""

    def __init__(self, job: Job, train: Part, validation: Part) -> None:
        self.job, self.train, self.validation = job, train, validation
        self.labels = len(job.dataset.labels)
        self.kind = KINDS[job.dataset.task]
        self.metric = job.train.metric or self.kind.metric

    def trials(self, values: Sequence[float]) -> int:
        """How many machines `search` solves (and scores) for so many values of C."""
        return len(values) + self._uneven

    @property
    def _uneven(self) -> bool:
        return self.job.train.class_weights == "auto" and self.job.dataset.profile.imbalance >= IMBALANCE

    def search(
        self, train: csr_matrix, validation: csr_matrix, values: Sequence[float], tell: Callable[[str], None]
    ) -> Judged:
        """The best of several C; uneven classes are then also tried balanced, at the best C.

        Args:
            tell: called with a short text after each machine.
        """
        best: Judged | None = None
        trials = [Strength(c, self.job.train.class_weights == "balanced") for c in values]
        for tried, strength in enumerate(trials, start=1):
            judged = self.judge(train, validation, strength)
            tell(f"C {strength.c}, {self.metric} {judged.score:.4f}")
            if best is None or judged.score > best.score:
                best = judged
            if tried == len(values) and self._uneven:
                trials.append(Strength(best.strength.c, True))
        assert best is not None
        return best

    def judge(self, train: csr_matrix, validation: csr_matrix, strength: Strength) -> Judged:
        """Solves on the training rows; the score is the metric of held-out rows.

        Those are the validation part or, where there are few rows, every row once through folds.
        """
        solution = solve(train, self.train.targets, self.train.weights, self.labels, strength, self.job.seed)
        logits = solution.logits(validation)
        held_out = logits, self.validation.targets
        if len(self.train.texts) <= FOLDED_ROWS:
            held_out = self._folded(csr_matrix(vstack([train, validation])), strength)
        return Judged(self.kind.metrics(*held_out)[self.metric], strength, solution, logits, held_out)

    def _folded(self, matrix: csr_matrix, strength: Strength) -> tuple[np.ndarray, np.ndarray]:
        targets = np.concatenate([self.train.targets, self.validation.targets])
        weights = np.concatenate([self.train.weights, self.validation.weights])
        logits = np.zeros((len(targets), self.labels), np.float32)
        folds = KFold(min(FOLDS, len(targets)), shuffle=True, random_state=self.job.seed)
        for kept, held in folds.split(targets):
            solution = solve(matrix[kept], targets[kept], weights[kept], self.labels, strength, self.job.seed)
            logits[held] = solution.logits(matrix[held])
        return logits, targets


def probable(judged: Judged) -> tuple[Judged, str]:
    """The judged solution with margins that `activation`, given beside it, turns into logits of probabilities.

    Of one answer a text those are normalised sigmoids (see `sigmoid_line`), whose logarithms softmax normalises. Of
    several answers a text the margins stay as they are.
    """
    margins, targets = judged.held_out
    if targets.ndim > 1:
        return judged, "linear"
    line = sigmoid_line(margins, targets)
    logits = log_expit(line[0] * judged.logits + line[1]).astype(np.float32)
    return replace(judged, solution=judged.solution.along(*line), logits=logits), "log_sigmoid"
