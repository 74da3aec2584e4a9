"""Linear bag: TF-IDF n-grams under a linear support vector machine, served as a weighted sum of table rows.

It gives exactly scikit-learn's LinearSVC answers. No chosen model may be worse than this one.
"""

import itertools
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from bentos.text_classifier.encoding import GramEncoder, HashedGramEncoder
from tasks.base.manifests import Candidate, Dataset
from tasks.base.settings import Effort, TrainSettings
from tasks.kinds.registry import KINDS
from tasks.learning.backend import keras
from tasks.learning.candidate import save
from tasks.learning.job import Job, Range
from tasks.learning.ngrams import GramFrequencies, sparse
from tasks.learning.support_vectors import Judged, Machines, Part, Solution, probable
from tasks.learning.training import Trained
from tasks.models.architectures import register
from tasks.models.architectures.layers import WeightedBag

# Below so many rows every n-gram is kept; above, those of one text only cost much and tell little.
SMALL = 20_000


def unfit(dataset: Dataset) -> str | None:
    """Why no support vector machine can be trained; None when it can."""
    return None if KINDS[dataset.task].pooled else "it gives one answer a text"


def bag(encoder: GramEncoder | HashedGramEncoder, solution: Solution, name: str) -> tuple[dict[str, Any], Any]:
    """The encoder's inputs by name, and the solution's logits over them."""
    ids: Any = keras.Input((None,), dtype="int32", name=encoder.settings.name)
    weights: Any = keras.Input((None,), dtype="float32", name=f"{encoder.settings.name}_weights")
    rows, labels = solution.table.shape
    layer = WeightedBag(rows + 1, labels, use_bias=True, initializer="zeros", name=name)
    logits = layer(ids, weights)
    layer.set_weights([np.vstack([np.zeros((1, labels), np.float32), solution.table]), solution.bias])
    return {ids.name: ids, weights.name: weights}, logits


def bag_model(encoder: GramEncoder | HashedGramEncoder, solution: Solution, activation: str = "linear") -> keras.Model:
    """The solution, and `activation` over its margins, as a Keras model over the encoder's inputs."""
    inputs, margins = bag(encoder, solution, "margins")
    return keras.Model(inputs, keras.layers.Activation(activation, name="logits")(margins), name="linear")


class Linear:
    name = "linear"
    efforts: tuple[Effort, ...] = ("quick", "standard", "thorough")
    space: Mapping[str, Range] = {}

    def skip(self, dataset: Dataset, train: TrainSettings) -> str | None:
        return unfit(dataset)

    def hyper(self, dataset: Dataset, effort: Effort) -> dict[str, Any]:
        """`grams` bounds how many n-grams of all texts are held at once, at about 20 bytes each."""
        grid = {"quick": (0.5, 1.0), "standard": (0.25, 0.5, 1.0, 2.0), "thorough": (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)}
        return {
            "words": (1, 2),
            "characters": (1, 5),
            "min_df": 1 if dataset.rows["train"] < SMALL else 2,
            "max_features": {"quick": 100_000, "standard": 300_000, "thorough": 600_000}[effort],
            "grams": {"quick": 15_000_000, "standard": 45_000_000, "thorough": 60_000_000}[effort],
            "c": grid[effort],
        }

    def fit(self, job: Job) -> Candidate:
        """Chooses words or words and characters, C and the class weights on held-out rows."""
        started = time.perf_counter()
        hyper = job.hyper_of(self)
        profile = job.dataset.profile
        # A word gives itself and a pair; a character begins an n-gram of each size.
        words = 2 * profile.tokens["0.5"] + 1
        sizes = hyper["characters"][1] - hyper["characters"][0] + 1 if hyper["characters"] else 0
        train = Part.read(job.dataset, "train", int(hyper["grams"] / words))
        validation = Part.read(job.dataset, "validation")
        fits = len(train.texts) * (words + sizes * profile.characters["0.5"]) <= hyper["grams"]
        kinds = (False, True) if sizes and fits else (False,)

        counted = GramFrequencies(
            hyper["words"], hyper["characters"] if len(kinds) > 1 else None, hyper["max_features"]
        )
        counted.count(train.texts)
        limits = {"min_df": hyper["min_df"], "max_features": hyper["max_features"]}
        machines = Machines(job, train, validation)
        trials = len(kinds) * machines.trials(hyper["c"])
        tried = itertools.count(1)
        best: tuple[Judged, GramEncoder, dict[str, Any]] | None = None
        for characters in kinds:
            encoder = counted.encoder(characters=characters, min_df=hyper["min_df"])
            matrices = sparse(encoder, train.texts), sparse(encoder, validation.texts)
            judged = machines.search(*matrices, hyper["c"], lambda text: job.progress(next(tried) / trials, text))
            if best is None or judged.score > best[0].score:
                chosen = {"characters": characters, "rows": len(train.texts), **limits, **judged.strength._asdict()}
                best = judged, encoder, chosen
        assert best is not None
        judged, encoder, chosen = best
        judged, activation = probable(judged)
        trained = Trained(
            model=bag_model(encoder, judged.solution, activation),
            logits=judged.logits,
            targets=validation.targets,
            metrics=machines.kind.metrics(judged.logits, validation.targets),
            curves={},
            seconds=time.perf_counter() - started,
        )
        return save(job, self.name, trained, {encoder.settings.file: encoder.dump()}, [encoder.settings], chosen)


register(Linear())
