"""What the structures over a text's sub-words share; each adds its own layers over the positions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from bentos.text_classifier.encoding import TokenEncoder
from tasks.base.errors import InputError
from tasks.base.manifests import Candidate, Dataset
from tasks.base.settings import Effort, TrainSettings
from tasks.kinds.registry import KINDS
from tasks.learning.backend import keras, ops
from tasks.learning.candidate import save
from tasks.learning.examples import training_texts
from tasks.learning.job import Job, Range
from tasks.learning.recipe import Recipe
from tasks.learning.tokenisers import fit_tokeniser
from tasks.learning.training import fit
from tasks.models.architectures.layers import mask_of, max_over, mean_over
from tasks.models.pretrained.names import open_pretrained

Hyper = dict[str, Any]
SMALL = 20_000
FEW_TOKENS = 500_000
OWN, PRETRAINED = "own", "pretrained"
"""Where sub-words and the first values of their vectors are from: the texts and chance, or a pre-trained encoder."""

_USED_WITH = {"vocabulary": OWN, "min_frequency": OWN, "cased": OWN, "vectors_rate": PRETRAINED}
"""Hyper-parameters that count with one of the two: how sub-words are learned, and how much slower than the rest of the
model vectors move that an encoder has learned."""


@dataclass
class TokenModel:
    """Embeds sub-words, computes features at every position and pools them where a text has one answer.

    `features` takes embeddings [texts, positions, width], the mask of `mask_of` and the
    hyper-parameters and gives features [texts, positions, any width], one or several, that do not depend on the
    padding. `defaults` are hyper-parameters that differ from those all token models have.
    """

    name: str
    efforts: tuple[Effort, ...]
    features: Callable[[Any, Any, Hyper], Sequence[Any]]
    defaults: Callable[[Dataset, Effort], Hyper]
    pooling: tuple[Callable[[Any, Any], Any], ...] = (max_over, mean_over)
    xla: bool = True
    space: Mapping[str, Range] = field(
        default_factory=lambda: {
            "learning_rate": Range(2e-4, 1e-2, log=True),
            "dropout": Range(0.2, 0.7),
            "decay": Range(1e-3, 0.3, log=True),
            "vectors_rate": Range(0.03, 1.0, log=True),
        }
    )

    def skip(self, dataset: Dataset, train: TrainSettings) -> str | None:
        place, by_hand = f"train.hyper.{self.name}", train.hyper.get(self.name, {})
        vectors = by_hand.get("vectors", _vectors_of(dataset))
        if vectors not in _VECTORS:
            raise InputError(f"{place}.vectors: there is no {vectors!r}; there are {', '.join(_VECTORS)}")
        for name, source in _USED_WITH.items():
            if name in by_hand and source != vectors:
                raise InputError(
                    f"{place}.{name}: it has no effect while vectors are {vectors!r}; set {place}.vectors to {source!r}"
                )
        return None

    def hyper(self, dataset: Dataset, effort: Effort) -> Hyper:
        small = dataset.rows["train"] < SMALL
        general = {
            "vectors": _vectors_of(dataset),
            # Pieces of no training text stay where the encoder put them; while there are many of those, the others
            # should not go far from there.
            "vectors_rate": 0.1 if dataset.profile.total_tokens < FEW_TOKENS else 1.0,
            # Of few texts whole words are learned, however rare; case tells names and abbreviations.
            "vocabulary": 40_000 if small else 20_000,
            "min_frequency": 1 if small else 2,
            "cased": True,
            "width": 128,
            "dropout": 0.5,
            "batch_size": 32 if small else 128,
            "learning_rate": 1e-3,
            "epochs": {"quick": 8, "standard": 25, "thorough": 30}[effort] if small else 8,
            "decay": 0.1,
            "patience": 6,
            "seconds": {"quick": 20.0, "standard": 150.0, "thorough": 900.0}[effort],
        }
        if not KINDS[dataset.task].pooled:
            # Most positions are outside of any span: before a model finds the first of them its score stands still.
            general |= {"batch_size": 16 if small else 64, "learning_rate": 5e-3, "patience": 6}
            general["epochs"] *= 2
        return general | self.defaults(dataset, effort)

    def fit(self, job: Job) -> Candidate:
        hyper = job.hyper_of(self)
        source = hyper["vectors"]
        hyper = {name: value for name, value in hyper.items() if _USED_WITH.get(name, source) == source}
        encoder, vectors = _VECTORS[source](job, hyper)
        size = encoder.tokenizer.get_vocab_size() if vectors is None else len(vectors)
        settings = encoder.settings
        hyper["max_length"] = settings.max_length
        outputs = len(KINDS[job.dataset.task].outputs(job.dataset.labels))

        def build() -> keras.Model:
            ids = keras.Input((None,), dtype="int32", name=settings.name)
            mask = mask_of(ids, settings.pad_id)
            uniform: Any = keras.initializers.RandomUniform(-0.25, 0.25)
            embedding = keras.layers.Embedding(size, hyper["width"], uniform, name="embedding")
            embedded = embedding(ids)
            if vectors is not None:
                embedding.set_weights([vectors])
            found = self.features(embedded * ops.cast(mask, embedded.dtype), mask, hyper)
            if KINDS[job.dataset.task].pooled:
                # Each on its own: joined at every position first, they took a tenth longer.
                found = [pool(one, mask) for pool in self.pooling for one in found]
            values = ops.concatenate(found, axis=-1) if len(found) > 1 else found[0]
            values = keras.layers.Dropout(hyper["dropout"])(values)
            logits = keras.layers.Dense(outputs, dtype="float32", name="logits")(values)
            return keras.Model({settings.name: ids}, logits, name=self.name)

        names = {one.name for one in fields(Recipe)} & hyper.keys()
        rates = {} if vectors is None else {"embedding": hyper["vectors_rate"]}
        recipe = Recipe(**{name: hyper[name] for name in names}, rates=rates, xla=self.xla)
        trained = fit(job, build, [encoder], recipe)
        return save(job, self.name, trained, {settings.file: encoder.dump()}, [settings], hyper)


def _vectors_of(dataset: Dataset) -> str:
    # A tag needs the case of its word, which the packaged encoder's tokenizer folds.
    return PRETRAINED if KINDS[dataset.task].pooled else OWN


def _own(job: Job, hyper: Hyper) -> tuple[TokenEncoder, np.ndarray | None]:
    encoder = fit_tokeniser(
        training_texts(job.dataset),
        size=hyper["vocabulary"],
        min_frequency=hyper["min_frequency"],
        cased=hyper["cased"],
        max_length=job.train.max_length or job.dataset.max_length,
    )
    return encoder, None


def _pretrained(job: Job, hyper: Hyper) -> tuple[TokenEncoder, np.ndarray | None]:
    pretrained = open_pretrained(job.train.pretrained, job.dataset).reduced_to(training_texts(job.dataset))
    encoder = pretrained.fitted_encoder(training_texts(job.dataset), job.train.max_length or job.dataset.max_length)
    hyper |= {"pretrained": pretrained.name, "width": min(hyper["width"], pretrained.shape.width)}
    return encoder, pretrained.word_vectors(hyper["width"])


_VECTORS = {OWN: _own, PRETRAINED: _pretrained}
