"""Frozen encoder and n-grams together: a linear support vector machine over [TF-IDF ; weight x embedding]."""

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack

from bentos.text_classifier.encoding import TokenEncoder
from tasks.base.manifests import Candidate, Dataset
from tasks.base.settings import Effort, TrainSettings
from tasks.learning.backend import keras, ops, tf
from tasks.learning.candidate import save
from tasks.learning.job import Job, Range
from tasks.learning.ngrams import fit_grams, sparse
from tasks.learning.support_vectors import FOLDED_ROWS, Judged, Machines, Part, Solution, probable
from tasks.learning.training import Trained
from tasks.models.architectures import register
from tasks.models.architectures.layers import mask_of
from tasks.models.architectures.linear import SMALL, bag, unfit
from tasks.models.pretrained.encoder import encode_tokens, pooled
from tasks.models.pretrained.model import Pretrained
from tasks.models.pretrained.names import open_pretrained

BATCH = 64
FEW = 300
"""Training rows below which held-out rows say too little to choose by."""


class Stack:
    name = "stack"
    efforts: tuple[Effort, ...] = ("standard", "thorough")
    space: Mapping[str, Range] = {}

    def skip(self, dataset: Dataset, train: TrainSettings) -> str | None:
        return unfit(dataset)

    def hyper(self, dataset: Dataset, effort: Effort) -> dict[str, Any]:
        return {
            "words": (1, 2),
            "characters": (1, 5),
            "max_features": {"quick": 50_000, "standard": 100_000, "thorough": 300_000}[effort],
            "max_length": {"quick": 64, "standard": 128, "thorough": 256}[effort],
            "weights": _weights(dataset, effort),
            "c": {"quick": (0.5,), "standard": (0.5, 0.25, 1.0), "thorough": (0.5, 0.125, 0.25, 1.0, 2.0)}[effort],
        }

    def fit(self, job: Job) -> Candidate:
        """Chooses the embedding's weight, C and the class weights on held-out rows."""
        started = time.perf_counter()
        hyper = job.hyper_of(self)
        train, validation = (Part.read(job.dataset, part) for part in ("train", "validation"))
        grams = fit_grams(
            train.texts,
            words=hyper["words"],
            characters=hyper["characters"],
            min_df=1 if len(train.texts) < SMALL else 2,
            max_features=hyper["max_features"],
        )
        pretrained = open_pretrained(job.train.pretrained, job.dataset).reduced_to(train.texts)
        tokens = pretrained.fitted_encoder(train.texts, job.train.max_length or hyper["max_length"])
        inputs, last, middle = sentence(pretrained, tokens)
        embedder = keras.Model(inputs, ops.concatenate([last, middle], axis=1))
        pretrained.load_into(embedder)

        texts = [*train.texts, *validation.texts]
        embeddings = embed(embedder, tokens, texts, lambda share: job.progress(0.8 * share, "embedding the texts"))
        machines = Machines(job, train, validation)
        judged, chosen = choose(machines, sparse(grams, texts), embeddings, hyper["weights"], hyper["c"])

        judged, activation = probable(judged)
        columns = len(grams.vocabulary)
        table, kernel = judged.solution.table[:columns], judged.solution.table[columns:]
        bag_inputs, bag_logits = bag(grams, Solution(table, judged.solution.bias), "bag")
        # Without the middle layer the graph is smaller, and so it is left out where it weighs nothing.
        vectors = ops.concatenate([last, middle], axis=1) if chosen["weights"][1] else last
        head = keras.layers.Dense(len(job.dataset.labels), use_bias=False, name="head")
        margins = keras.layers.Add(name="margins")([bag_logits, head(vectors)])
        logits = keras.layers.Activation(activation, name="logits")(margins)
        head.set_weights([(_columns(chosen["weights"], embeddings)[:, None] * kernel)[: vectors.shape[1]]])
        trained = Trained(
            model=keras.Model(bag_inputs | inputs, logits, name=self.name),
            logits=judged.logits,
            targets=validation.targets,
            metrics=machines.kind.metrics(judged.logits, validation.targets),
            curves={},
            seconds=time.perf_counter() - started,
        )
        files = {encoder.settings.file: encoder.dump() for encoder in (grams, tokens)}
        chosen |= {"max_features": hyper["max_features"], "max_length": tokens.settings.max_length}
        chosen["pretrained"] = pretrained.name
        return save(job, self.name, trained, files, [grams.settings, tokens.settings], chosen)


def choose(
    machines: Machines,
    bags: csr_matrix,
    embeddings: np.ndarray,
    weights: Sequence[tuple[float, float]],
    values: tuple[float, ...],
) -> tuple[Judged, dict[str, Any]]:
    """The best weights at the first C, then the best C at those weights: machines over dense columns are slow.

    Args:
        bags, embeddings: rows of the training and then of the validation part.
    """
    cut = len(machines.train.texts)
    trials = len(weights) * machines.trials(values[:1]) + machines.trials(values)
    tried = itertools.count(1)

    def tell(text: str) -> None:
        machines.job.progress(0.8 + 0.2 * next(tried) / trials, text)

    def features(pair: tuple[float, float]) -> tuple[csr_matrix, csr_matrix]:
        matrix = csr_matrix(hstack([bags, csr_matrix(embeddings * _columns(pair, embeddings))]))
        return matrix[:cut], matrix[cut:]

    scores = {pair: machines.search(*features(pair), values[:1], tell).score for pair in weights}
    pair = max(weights, key=lambda pair: scores[pair])
    judged = machines.search(*features(pair), values, tell)
    return judged, {"weights": pair, **judged.strength._asdict()}


def _columns(weights: tuple[float, float], embeddings: np.ndarray) -> np.ndarray:
    """The weight of every column of embeddings of two layers, float32."""
    return np.repeat(np.array(weights, np.float32), embeddings.shape[1] // 2)


def _weights(dataset: Dataset, effort: Effort) -> tuple[tuple[float, float], ...]:
    """Weights of the last and the middle layer's vector that are tried."""
    if dataset.rows["train"] < FEW:
        # So few rows cannot tell; both layers together were best on 8 rows a class of TREC-6.
        return ((1.4, 1.4),)
    last = {"quick": (2.0,), "standard": (1.0, 2.0, 4.0), "thorough": (0.5, 1.0, 2.0, 4.0)}[effort]
    both = ((1.4, 1.4),) if dataset.rows["train"] <= FOLDED_ROWS else ()
    return (*((weight, 0.0) for weight in last), *both)


def sentence(pretrained: Pretrained, encoder: TokenEncoder) -> tuple[dict[str, Any], Any, Any]:
    """The encoder's input by name, and a text's vectors of length one, float32 [n, width].

    They are of the last layer, which knows topics, and of a middle one, which keeps more of the wording.
    """
    ids: Any = keras.Input((None,), dtype="int32", name=encoder.settings.name)
    mask = mask_of(ids, encoder.settings.pad_id)
    layers = encode_tokens(pretrained.shape, ids, mask)
    last, middle = (pooled(layers[place], mask, pretrained.pooling) for place in (-1, (len(layers) - 1) * 2 // 3))
    return {ids.name: ids}, _unit(last), _unit(middle)


def _unit(vectors: Any) -> Any:
    return vectors / ops.sqrt(ops.sum(vectors * vectors, axis=1, keepdims=True) + 1e-12)


def embed(model: keras.Model, encoder: TokenEncoder, texts: Sequence[str], progress: Any) -> np.ndarray:
    """The model's vectors of any number of texts, float32 [texts, width], in batches of like length."""
    call = tf.function(lambda inputs: model(inputs, training=False), autograph=False, reduce_retracing=True)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    result = np.zeros((len(texts), model.output_shape[-1]), np.float32)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        inputs = encoder.encode([texts[index] for index in chosen])
        result[chosen] = call({name: tf.constant(array) for name, array in inputs.items()}).numpy()
        progress((start + len(chosen)) / len(order))
    return result


register(Stack())
