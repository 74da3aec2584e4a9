"""Models that keep a privacy budget: nothing but a linear layer over fixed features learns from the rows.

A vocabulary or the rarity of a word would be learned from the rows outside of the budget. The features are
therefore n-grams by hash, or the vectors of a pre-trained encoder that stays as it is.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from bentos.text_classifier.decoding import decoder_of
from bentos.text_classifier.encoding import HashedGramEncoder
from bentos.text_classifier.manifest import EncoderSettings, HashedGramSettings, Manifest, Privacy
from tasks.base.manifests import Candidate, Dataset
from tasks.base.settings import Effort, TrainSettings
from tasks.kinds.registry import KINDS
from tasks.learning.backend import keras, ops
from tasks.learning.candidate import save
from tasks.learning.job import Job, Range
from tasks.learning.ngrams import sparse
from tasks.learning.privacy import guarantee, secret_uniform
from tasks.learning.private_training import Features, Rows, train_privately
from tasks.learning.support_vectors import Part, Solution
from tasks.learning.training import Trained
from tasks.models.architectures import register
from tasks.models.architectures.linear import bag_model, unfit
from tasks.models.architectures.stack import embed, sentence
from tasks.models.pretrained.names import open_pretrained

STEP_NOISE = 0.18
"""Deviation of the noise that a step adds to a weight: of the validation parts of TREC-6, Banking77 and THUCNews titles
at epsilon 8, where rates of a fifth and of four times that are worse."""

MOST_RATE = 0.04
"""Of the learning rate, a row; reached where there is little noise."""

TABLE = 1 << 22
"""Numbers that a table of hashed n-grams holds at most: each of them gets noise in every step."""

DENSE_RATE = 400.0
"""Most for an encoder's vectors, which have much in common: 45,000 rows would be given 1,600, and every step
overshoots."""

Tell = Callable[[float], None]


@dataclass(frozen=True)
class Encoded:
    """Features of texts, and how a solution over them becomes a model over the encoder's inputs."""

    features: Features
    settings: EncoderSettings
    files: dict[str, bytes]
    model: Callable[[Solution], keras.Model]


def unasked(dataset: Dataset, train: TrainSettings) -> str | None:
    """Why a private model is not tried; None when it is."""
    if train.privacy.epsilon is None:
        return "it is for training with train.privacy.epsilon"
    return unfit(dataset)


def fit(
    name: str,
    job: Job,
    hyper: dict[str, Any],
    encode: Callable[[Sequence[str], Tell], Encoded],
    most: float = math.inf,
) -> Candidate:
    """Trains the linear layer on the training rows, once: each training spends the whole budget.

    Args:
        most: of the learning rate, which grows with the rows.
    """
    started = time.perf_counter()
    kind = KINDS[job.dataset.task]
    set_by_hand = {name: getattr(job.train, name) for name in ("epochs", "batch_size", "learning_rate")}
    hyper |= {name: value for name, value in set_by_hand.items() if value is not None}
    train, validation = (Part.read(job.dataset, part) for part in ("train", "validation"))
    encoded = encode(
        [*train.texts, *validation.texts], lambda share: job.progress(0.7 * share, "features of the texts")
    )
    rows = len(train.texts)
    rate = min(hyper["batch_size"] / rows, 1.0)
    privacy = guarantee(job.train.privacy, rows, rate, max(round(hyper["epochs"] / rate), 1))
    noise = STEP_NOISE / max(privacy.noise, STEP_NOISE / MOST_RATE)
    hyper = {"learning_rate": min(noise * rate * rows, most)} | hyper
    empty = Manifest(task=job.dataset.task, labels=job.dataset.labels, encoders=[])

    def solve(kept_to: Privacy, tell: Tell) -> tuple[Solution, np.ndarray]:
        solution = train_privately(
            Rows(encoded.features[:rows], _shares(train.targets, len(job.dataset.labels)), train.weights),
            lambda logits: decoder_of(empty).scores(logits, empty),
            kept_to,
            hyper["learning_rate"],
            secret_uniform(),
            tell,
        )
        return solution, solution.logits(encoded.features[rows:])

    solution, logits = solve(privacy, lambda share: job.progress(0.7 + 0.2 * share, f"epsilon {privacy.epsilon:g}"))
    trained = Trained(
        model=encoded.model(solution),
        logits=logits,
        targets=validation.targets,
        metrics=kind.metrics(logits, validation.targets),
        curves={},
        seconds=time.perf_counter() - started,
    )
    # What privacy costs is for the report of who owns the rows; nothing of that model is kept.
    _, openly = solve(
        msgspec.structs.replace(privacy, noise=0.0), lambda share: job.progress(0.9 + 0.1 * share, "without noise")
    )
    metric = job.train.metric or kind.metric
    hyper |= {
        "privacy": msgspec.structs.asdict(privacy),
        "score_without_noise": kind.metrics(openly, validation.targets)[metric],
    }
    return save(job, name, trained, encoded.files, [encoded.settings], hyper, privacy)


def _shares(targets: np.ndarray, labels: int) -> np.ndarray:
    """Targets as float32 [rows, labels]."""
    return targets.astype(np.float32) if targets.ndim > 1 else np.eye(labels, dtype=np.float32)[targets]


class PrivateLinear:
    """A linear layer over hashed n-grams; for any language."""

    name = "private_linear"
    efforts: tuple[Effort, ...] = ("quick", "standard", "thorough")
    space: Mapping[str, Range] = {}

    def skip(self, dataset: Dataset, train: TrainSettings) -> str | None:
        return unasked(dataset, train)

    def hyper(self, dataset: Dataset, effort: Effort) -> dict[str, Any]:
        return _steps(dataset) | {"words": (1, 2), "characters": (3, 5), "buckets": _buckets(len(dataset.labels))}

    def fit(self, job: Job) -> Candidate:
        hyper = job.hyper_of(self)

        def encode(texts: Sequence[str], tell: Tell) -> Encoded:
            sizes = {name: hyper[name] for name in ("buckets", "words", "characters")}
            encoder = HashedGramEncoder(HashedGramSettings("hashed_grams", **sizes))
            matrix = sparse(encoder, texts)
            # Two n-grams under one id count as one feature.
            matrix.sum_duplicates()
            return Encoded(matrix, encoder.settings, {}, lambda solution: bag_model(encoder, solution))

        return fit(self.name, job, hyper, encode)


class PrivateEncoder:
    """A linear layer over a frozen pre-trained encoder's vectors, which its own training texts alone decided."""

    name = "private_encoder"
    efforts: tuple[Effort, ...] = ("standard", "thorough")
    space: Mapping[str, Range] = {}

    def skip(self, dataset: Dataset, train: TrainSettings) -> str | None:
        return unasked(dataset, train)

    def hyper(self, dataset: Dataset, effort: Effort) -> dict[str, Any]:
        # Not the length that the training texts have, which would tell of them.
        return _steps(dataset) | {"max_length": {"quick": 64, "standard": 128, "thorough": 256}[effort]}

    def fit(self, job: Job) -> Candidate:
        hyper = job.hyper_of(self)
        pretrained = open_pretrained(job.train.pretrained, job.dataset)
        tokens = pretrained.token_encoder(job.train.max_length or hyper["max_length"])

        def encode(texts: Sequence[str], tell: Tell) -> Encoded:
            inputs, last, middle = sentence(pretrained, tokens)
            vectors = ops.concatenate([last, middle], axis=1) * 0.5**0.5
            embedder = keras.Model(inputs, vectors)
            pretrained.load_into(embedder)

            def model(solution: Solution) -> keras.Model:
                head = keras.layers.Dense(len(solution.bias), name="logits", dtype="float32")
                made = keras.Model(inputs, head(vectors), name=self.name)
                head.set_weights([solution.table, solution.bias])
                return made

            features = embed(embedder, tokens, texts, tell)
            return Encoded(features, tokens.settings, {tokens.settings.file: tokens.dump()}, model)

        hyper |= {"max_length": tokens.settings.max_length, "pretrained": pretrained.name}
        return fit(self.name, job, hyper, encode, DENSE_RATE)


def _steps(dataset: Dataset) -> dict[str, Any]:
    return {"batch_size": dataset.rows["train"], "epochs": 60}


def _buckets(labels: int) -> int:
    return 1 << int(np.clip(np.log2(TABLE / labels), 10, 16))


register(PrivateLinear(), private=True)
register(PrivateEncoder(), private=True)
