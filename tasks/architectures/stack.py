"""Frozen encoder and n-grams together: a linear support vector machine over [TF-IDF ; weight x embedding]."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix, hstack

from bentos.text_classifier.encoding import TokenEncoder
from tasks.architectures import Job, register
from tasks.architectures.layers import mask_of
from tasks.architectures.linear import bag, unfit
from tasks.backend import keras, ops, tf
from tasks.candidate import save
from tasks.manifests import Candidate, Dataset
from tasks.ngrams import fit_grams, sparse
from tasks.pretrained.encoder import encode_tokens, pooled
from tasks.pretrained.folder import Pretrained, unread
from tasks.settings import Effort, TrainSettings
from tasks.support_vectors import Judged, Machines, Part, Solution
from tasks.training import Trained

BATCH = 64


class Stack:
    name = "stack"
    efforts: tuple[Effort, ...] = ("standard", "thorough")

    def skip(self, dataset: Dataset, train: TrainSettings) -> str | None:
        return unfit(dataset, train) or unread(dataset, train)

    def hyper(self, dataset: Dataset, effort: Effort) -> dict[str, Any]:
        return {
            "words": (1, 2),
            "characters": (1, 5),
            "max_features": {"quick": 50_000, "standard": 100_000, "thorough": 300_000}[effort],
            "max_length": {"quick": 64, "standard": 128, "thorough": 256}[effort],
            "weights": {"quick": (2.0,), "standard": (1.0, 2.0, 4.0), "thorough": (0.5, 1.0, 2.0, 4.0)}[effort],
            "c": {"quick": (0.5,), "standard": (0.5, 0.25, 1.0), "thorough": (0.5, 0.125, 0.25, 1.0, 2.0)}[effort],
        }

    def fit(self, job: Job) -> Candidate:
        """Chooses the embedding's weight, C and the class weights on held-out rows."""
        started = time.perf_counter()
        hyper = self.hyper(job.dataset, job.effort) | job.hyper
        train, validation = (Part.read(job.dataset, part) for part in ("train", "validation"))
        grams = fit_grams(
            train.texts,
            words=hyper["words"],
            characters=hyper["characters"],
            min_df=2,
            max_features=hyper["max_features"],
        )
        pretrained = Pretrained.open(job.train.pretrained)
        tokens = pretrained.fitted_encoder(train.texts, job.train.max_length or hyper["max_length"])
        inputs, vectors = sentence(pretrained, tokens)
        embedder = keras.Model(inputs, vectors)
        pretrained.load_into(embedder)

        texts = [*train.texts, *validation.texts]
        embeddings = embed(embedder, tokens, texts, lambda share: job.progress(0.8 * share, "embedding the texts"))
        cut = len(train.texts)
        bags = sparse(grams, train.texts), sparse(grams, validation.texts)
        machines = Machines(job, train, validation)
        # The best weight is sought at the first C, the best C at that weight: a machine over dense columns is slow.
        first, *others = machines.strengths(hyper["c"])
        trials = [(weight, first) for weight in hyper["weights"]]
        best: tuple[Judged, dict[str, Any]] | None = None
        for tried, (weight, strength) in enumerate(trials, start=1):
            dense = csr_matrix(weight * embeddings[:cut]), csr_matrix(weight * embeddings[cut:])
            matrices = csr_matrix(hstack([bags[0], dense[0]])), csr_matrix(hstack([bags[1], dense[1]]))
            judged = machines.judge(*matrices, strength)
            share = 0.8 + 0.2 * tried / (len(hyper["weights"]) + len(others))
            job.progress(share, f"weight {weight}, C {strength.c}, {machines.metric} {judged.score:.4f}")
            if best is None or judged.score > best[0].score:
                best = judged, {"weight": weight, **strength._asdict()}
            if tried == len(hyper["weights"]):
                trials.extend((best[1]["weight"], other) for other in others)
        assert best is not None
        judged, chosen = best

        columns = len(grams.vocabulary)
        table, kernel = judged.solution.table[:columns], judged.solution.table[columns:]
        bag_inputs, bag_logits = bag(grams, Solution(table, judged.solution.bias), "bag")
        head = keras.layers.Dense(len(job.dataset.labels), use_bias=False, name="head")
        logits = keras.layers.Add(name="logits")([bag_logits, head(vectors)])
        head.set_weights([chosen["weight"] * kernel])
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
        return save(job, self.name, trained, files, [grams.settings, tokens.settings], chosen)


def sentence(pretrained: Pretrained, encoder: TokenEncoder) -> tuple[dict[str, Any], Any]:
    """The encoder's input by name, and the text's vector of length one, float32 [n, width]."""
    ids: Any = keras.Input((None,), dtype="int32", name=encoder.settings.name)
    mask = mask_of(ids, encoder.settings.pad_id)
    vectors = pooled(encode_tokens(pretrained.shape, ids, mask), mask, pretrained.pooling)
    return {ids.name: ids}, vectors / ops.sqrt(ops.sum(vectors * vectors, axis=1, keepdims=True) + 1e-12)


def embed(model: keras.Model, encoder: TokenEncoder, texts: Sequence[str], progress: Any) -> np.ndarray:
    """The model's vectors of any number of texts, float32 [texts, width], in batches of like length."""
    call = tf.function(lambda inputs: model(inputs, training=False), reduce_retracing=True)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    result = np.zeros((len(texts), model.output_shape[-1]), np.float32)
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        inputs = encoder.encode([texts[index] for index in chosen])
        result[chosen] = call({name: tf.constant(array) for name, array in inputs.items()}).numpy()
        progress((start + len(chosen)) / len(order))
    return result


register(Stack())
