"""Linear bag: TF-IDF n-grams under a linear support vector machine, served as a weighted sum of table rows.

The weights are liblinear's (Fan et al. 2008, squared hinge, one label against the rest), copied into
the Keras model, so that it gives exactly scikit-learn's LinearSVC decisions. No chosen model may be
worse than this one.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.svm import LinearSVC

from bentos.text_classifier.encoding import GramEncoder
from tasks.architectures import Job, register
from tasks.architectures.layers import WeightedBag
from tasks.backend import keras
from tasks.candidate import save
from tasks.examples import read_part
from tasks.kinds import KINDS
from tasks.manifests import Candidate, Dataset
from tasks.ngrams import GramFrequencies, sparse
from tasks.settings import Effort, TrainSettings
from tasks.training import Trained


@dataclass(frozen=True)
class Part:
    """Rows in memory: targets int32 [rows], or float32 [rows, labels] for multi-label."""

    texts: list[str]
    targets: np.ndarray
    weights: np.ndarray

    @classmethod
    def read(cls, dataset: Dataset, part: str) -> "Part":
        texts, targets, weights = zip(*read_part(dataset, part), strict=True)
        return cls([text for some in texts for text in some], np.concatenate(targets), np.concatenate(weights))


@dataclass(frozen=True)
class Solution:
    """`table` float32 [features, labels] and `bias` float32 [labels]."""

    table: np.ndarray
    bias: np.ndarray

    def logits(self, matrix: csr_matrix) -> np.ndarray:
        return np.asarray(matrix @ self.table) + self.bias


def solve(
    matrix: csr_matrix, targets: np.ndarray, weights: np.ndarray, labels: int, c: float, balanced: bool, seed: int
) -> Solution:
    """Squared-hinge support vector machines, one label against the rest.

    Args:
        matrix: float [rows, features].
        targets: int [rows], or 0/1 [rows, labels] for multi-label.
        weights: of the rows.
        c: inverse strength of the regularisation, LinearSVC's C.
        balanced: weighs every class by the inverse of its frequency.
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
            bias[places] = 1.0 if wanted[0] else -1.0
            continue
        machine = LinearSVC(C=c, class_weight="balanced" if balanced else None, random_state=seed)
        machine.fit(matrix, wanted, sample_weight=weights)
        coefficients, intercepts = machine.coef_, machine.intercept_
        if targets.ndim == 1 and len(places) == 2:
            # liblinear gives two classes one machine: its decision speaks for the second, against the first.
            coefficients, intercepts = (
                np.vstack([-coefficients, coefficients]),
                np.concatenate([-intercepts, intercepts]),
            )
        table[:, places] = coefficients.T
        bias[places] = intercepts
    return Solution(table, bias)


def bag_model(encoder: GramEncoder, solution: Solution) -> keras.Model:
    """The solution as a Keras model over the encoder's inputs."""
    name = encoder.settings.name
    ids = keras.Input((None,), dtype="int32", name=name)
    weights = keras.Input((None,), dtype="float32", name=f"{name}_weights")
    rows, labels = solution.table.shape
    layer = WeightedBag(rows + 1, labels, use_bias=True, initializer="zeros", name="logits")
    model = keras.Model({name: ids, f"{name}_weights": weights}, layer(ids, weights), name="linear")
    layer.set_weights([np.vstack([np.zeros((1, labels), np.float32), solution.table]), solution.bias])
    return model


class Linear:
    name = "linear"
    efforts: tuple[Effort, ...] = ("quick", "standard", "thorough")

    def skip(self, dataset: Dataset, train: TrainSettings) -> str | None:
        return None if dataset.task in KINDS and dataset.task != "tagging" else "tags words one by one"

    def hyper(self, dataset: Dataset, effort: Effort) -> dict[str, Any]:
        grid = {"quick": (0.5, 1.0), "standard": (0.25, 0.5, 1.0, 2.0), "thorough": (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)}
        return {
            "words": (1, 2),
            "characters": (1, 5),
            "min_df": 2,
            "max_features": {"quick": 100_000, "standard": 250_000, "thorough": 500_000}[effort],
            "c": grid[effort],
        }

    def fit(self, job: Job) -> Candidate:
        """Chooses the n-grams, C and the class weights on the validation part."""
        started = time.perf_counter()
        hyper = self.hyper(job.dataset, job.effort) | job.hyper
        train, validation = (Part.read(job.dataset, part) for part in ("train", "validation"))
        best: tuple[float, GramEncoder, Solution, dict[str, Any], np.ndarray] | None = None
        kind = KINDS[job.dataset.task]
        metric = job.train.metric or kind.metric
        trials = list(_trials(job, hyper))
        counted = GramFrequencies(hyper["words"], hyper["characters"])
        counted.count(train.texts)
        limits = {"min_df": hyper["min_df"], "max_features": hyper["max_features"]}
        for characters in (False, True):
            encoder = counted.encoder(characters=characters, **limits)
            matrices = [sparse(encoder, part.texts) for part in (train, validation)]
            for index, (c, balanced) in enumerate(trials):
                solution = solve(
                    matrices[0], train.targets, train.weights, len(job.dataset.labels), c, balanced, job.seed
                )
                logits = solution.logits(matrices[1])
                score = kind.metrics(logits, validation.targets)[metric]
                share = (characters * len(trials) + index + 1) / (2 * len(trials))
                job.progress(share, f"C {c}, {metric} {score:.4f}")
                if best is None or score > best[0]:
                    chosen = {"characters": characters, "c": c, "balanced": balanced, **limits}
                    best = (score, encoder, solution, chosen, logits)
        assert best is not None
        _, encoder, solution, chosen, logits = best
        trained = Trained(
            model=bag_model(encoder, solution),
            logits=logits,
            targets=validation.targets,
            metrics=kind.metrics(logits, validation.targets),
            curves={},
            seconds=time.perf_counter() - started,
        )
        return save(job, self.name, trained, {encoder.settings.file: encoder.dump()}, [encoder.settings], chosen)


def _trials(job: Job, hyper: dict[str, Any]) -> Iterator[tuple[float, bool]]:
    """Values of C and whether classes are balanced; uneven classes are tried both ways under `auto`."""
    uneven = job.dataset.profile.imbalance >= 10
    choices = {"none": (False,), "balanced": (True,), "auto": (True, False) if uneven else (False,)}
    for balanced in choices[job.train.class_weights]:
        for c in hyper["c"]:
            yield c, balanced


register(Linear())
