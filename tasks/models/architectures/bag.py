"""Averaged n-gram embeddings, after fastText (Joulin et al. 2016), with a kept vocabulary instead of hashing."""

from collections.abc import Mapping
from typing import Any

from tasks.base.manifests import Candidate, Dataset
from tasks.base.settings import Effort, TrainSettings
from tasks.kinds.registry import KINDS
from tasks.learning.backend import keras
from tasks.learning.candidate import save
from tasks.learning.examples import training_texts
from tasks.learning.job import Job, Range
from tasks.learning.ngrams import fit_grams
from tasks.learning.recipe import Recipe
from tasks.learning.training import fit
from tasks.models.architectures import register
from tasks.models.architectures.layers import WeightedBag

MIN_ROWS_FOR_RARE = 20_000


class Bag:
    """Mean of the embeddings of a text's words, word pairs and character n-grams, then a linear layer."""

    name = "bag"
    efforts: tuple[Effort, ...] = ("quick", "standard", "thorough")
    space: Mapping[str, Range] = {
        "learning_rate": Range(2e-3, 3e-2, log=True),
        "dropout": Range(0.2, 0.7),
        "width": Range(32, 192, log=True),
    }

    def skip(self, dataset: Dataset, train: TrainSettings) -> str | None:
        return None if KINDS[dataset.task].pooled else "it gives one answer a text"

    def hyper(self, dataset: Dataset, effort: Effort) -> dict[str, Any]:
        # Long texts repeat their words: character n-grams then cost much and add little.
        short = dataset.profile.characters["0.5"] < 120 or dataset.profile.language != "en"
        return {
            "words": (1, 2),
            "characters": (3, 5) if short else None,
            "max_features": {"quick": 50_000, "standard": 100_000, "thorough": 200_000}[effort],
            "min_df": 1 if dataset.rows["train"] < MIN_ROWS_FOR_RARE else 2,
            "width": 64,
            "dropout": 0.5,
            "epochs": {"quick": 10, "standard": 20, "thorough": 30}[effort],
            "batch_size": 64 if dataset.rows["train"] < MIN_ROWS_FOR_RARE else 256,
            "learning_rate": 1e-2,
            "seconds": {"quick": 20.0, "standard": 120.0, "thorough": 600.0}[effort],
        }

    def fit(self, job: Job) -> Candidate:
        hyper = job.hyper_of(self)
        encoder = fit_grams(
            training_texts(job.dataset),
            words=hyper["words"],
            characters=hyper["characters"],
            min_df=hyper["min_df"],
            max_features=hyper["max_features"],
            weighting="mean",
        )
        name = encoder.settings.name

        def build() -> keras.Model:
            ids = keras.Input((None,), dtype="int32", name=name)
            weights = keras.Input((None,), dtype="float32", name=f"{name}_weights")
            text = WeightedBag(len(encoder.vocabulary) + 1, hyper["width"], name="bag")(ids, weights)
            text = keras.layers.Dropout(hyper["dropout"])(text)
            logits = keras.layers.Dense(len(job.dataset.labels), dtype="float32", name="logits")(text)
            return keras.Model({name: ids, f"{name}_weights": weights}, logits, name=self.name)

        recipe = Recipe(
            epochs=hyper["epochs"],
            batch_size=hyper["batch_size"],
            learning_rate=hyper["learning_rate"],
            decay=0.0,
            clip=None,
            seconds=hyper["seconds"],
        )
        trained = fit(job, build, [encoder], recipe)
        files = {encoder.settings.file: encoder.dump()}
        return save(job, self.name, trained, files, [encoder.settings], hyper)


register(Bag())
