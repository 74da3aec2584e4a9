"""Fine-tuned pre-trained encoder: all its weights are trained on, the lower layers more carefully."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tasks.base.manifests import Candidate, Dataset
from tasks.base.settings import Effort, TrainSettings
from tasks.learning.backend import keras
from tasks.learning.candidate import save
from tasks.learning.examples import training_texts
from tasks.learning.job import Job, Range
from tasks.learning.recipe import Recipe
from tasks.learning.training import fit
from tasks.models.architectures import register
from tasks.models.architectures.layers import mask_of
from tasks.models.architectures.linear import unfit
from tasks.models.pretrained.encoder import encode_tokens, pooled
from tasks.models.pretrained.names import open_pretrained

USUAL_ROWS = 5_000
FEW = 1_000
"""Training rows below which the weights are averaged over the last epoch instead of chosen by an epoch's score."""


class FineTuned:
    """The encoder's pooled vector under a linear layer (Devlin et al. 2019), with layer-wise rates (ULMFiT, 2018)."""

    name = "encoder"
    efforts: tuple[Effort, ...] = ("standard", "thorough")
    space: Mapping[str, Range] = {
        "learning_rate": Range(5e-5, 5e-4, log=True),
        "layer_decay": Range(0.65, 1.0),
    }

    def skip(self, dataset: Dataset, train: TrainSettings) -> str | None:
        return unfit(dataset)

    def hyper(self, dataset: Dataset, effort: Effort) -> dict[str, Any]:
        few = dataset.rows["train"] < FEW
        # More rows need fewer passes, but not so few as would keep the steps the same.
        usual = {"quick": 3, "standard": 5, "thorough": 7}[effort]
        epochs = np.clip(usual * (USUAL_ROWS / dataset.rows["train"]) ** 0.5, 2, 40)
        return {
            "max_length": {"quick": 64, "standard": 128, "thorough": 256}[effort],
            "epochs": round(float(epochs)),
            "batch_size": 16 if few else 32,
            "learning_rate": 2e-4,
            "layer_decay": 0.8,
            "decay": 0.01,
            "smoothing": 0.1,
            # A handful of validation rows cannot tell the better epoch.
            "average": few,
            "seconds": {"quick": 60.0, "standard": 600.0, "thorough": 3600.0}[effort],
        }

    def fit(self, job: Job) -> Candidate:
        hyper = job.hyper_of(self)
        pretrained = open_pretrained(job.train.pretrained, job.dataset).reduced_to(training_texts(job.dataset))
        most = job.train.max_length or hyper["max_length"]
        encoder = pretrained.fitted_encoder(training_texts(job.dataset), most)
        settings = encoder.settings
        labels = len(job.dataset.labels)

        def build() -> keras.Model:
            ids: Any = keras.Input((None,), dtype="int32", name=settings.name)
            mask = mask_of(ids, settings.pad_id)
            text = pooled(encode_tokens(pretrained.shape, ids, mask)[-1], mask, pretrained.pooling)
            text = keras.layers.Dropout(0.1)(text)
            logits = keras.layers.Dense(labels, dtype="float32", name="logits")(text)
            model = keras.Model({settings.name: ids}, logits, name=self.name)
            pretrained.load_into(model)
            return model

        recipe = Recipe(
            epochs=hyper["epochs"],
            batch_size=hyper["batch_size"],
            learning_rate=hyper["learning_rate"],
            schedule="linear",
            decay=hyper["decay"],
            smoothing=hyper["smoothing"],
            average=hyper["average"],
            seconds=hyper["seconds"],
            rates=rates(pretrained.shape.layers, hyper["layer_decay"]),
        )
        trained = fit(job, build, [encoder], recipe)
        hyper |= {"max_length": settings.max_length, "pretrained": pretrained.name}
        return save(job, self.name, trained, {settings.file: encoder.dump()}, [settings], hyper)


def rates(layers: int, decay: float) -> dict[str, float]:
    """Multiples of the learning rate by layer: a layer's is `decay` of the next one's, the new head's is 5."""
    found = {f"block_{number}/": decay ** (layers - 1 - number) for number in range(layers)}
    return found | {"embedding/": decay**layers, "logits/": 5.0}


register(FineTuned())
