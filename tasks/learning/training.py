"""The training loop that every neural structure shares."""

import itertools
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bentos.text_classifier.encoding import GramEncoder, TokenEncoder
from tasks.base.machine import shared_cores
from tasks.base.manifests import Dataset, content_of
from tasks.base.settings import TrainSettings
from tasks.kinds.registry import KINDS
from tasks.learning.adamw import AdamW, trainable
from tasks.learning.backend import keras, tf
from tasks.learning.checkpoint import Checkpoint
from tasks.learning.distribution import Devices, devices
from tasks.learning.examples import Batch, Examples, encode_part, filled
from tasks.learning.forward import forward, predict, specs
from tasks.learning.job import Job
from tasks.learning.losses import LOSSES, LossSettings
from tasks.learning.recipe import IMBALANCE, Recipe

AVERAGED = 20
CHECKPOINT_SECONDS = 60.0
REPORT_SECONDS = 0.5
# The first steps trace the graph; the ones after tell the speed.
FIRST_TIMED = 5
LAST_TIMED = 25


@dataclass(frozen=True)
class Trained:
    """A trained float32 model; `logits` of the validation part in its order, `curves` by epoch.

    `folder` is where the model belongs when not in the job's folder: a worker's that is not the chief.
    """

    model: keras.Model
    logits: np.ndarray
    targets: np.ndarray
    metrics: dict[str, float]
    curves: dict[str, list[float]]
    seconds: float
    folder: Path | None = None


def fit(
    job: Job, build: Callable[[], keras.Model], encoders: Sequence[GramEncoder | TokenEncoder], recipe: Recipe
) -> Trained:
    """Trains a model until the metric stops rising, the user's target is reached or the epochs are over.

    A training that was interrupted goes on from its checkpoint in the job's folder and ends with the
    same weights as one that was not.

    Args:
        build: makes the model with seeded initial weights; its inputs are a dictionary by the names that
            the encoders give, its output is `logits`. Called once more at the end for the float32 model.
        encoders: those of the model, fitted already.
        recipe: what the user set by hand takes precedence over it.
    """
    recipe = recipe.with_settings(job.train)
    started = time.monotonic()
    with devices(job.train) as place:
        if not recipe.xla:
            place = replace(place, xla=False)
        own = job.folder if place.chief else job.folder / f"worker_{place.worker}"
        encoded = own / "encoded" / content_of(job.dataset.content, [encoder.settings for encoder in encoders])[:12]
        train = encode_part(job.dataset, "train", encoders, encoded / "train")
        validation = encode_part(job.dataset, "validation", encoders, encoded / "validation")
        loop = _Loop(job, build, recipe, place, train, validation)
        loop.run()
    model = build()
    model.set_weights(loop.model.get_weights())
    logits = predict(forward(model), validation)
    metrics = KINDS[job.dataset.task].metrics(logits, validation.targets)
    shutil.rmtree(own / "encoded")
    loop.checkpoint.remove()
    seconds = time.monotonic() - started
    return Trained(model, logits, validation.targets, metrics, loop.curves, seconds, None if place.chief else own)


class _Loop:
    """One training from its first step, or its checkpoint, to its end."""

    def __init__(
        self,
        job: Job,
        build: Callable[[], keras.Model],
        recipe: Recipe,
        place: Devices,
        train: Examples,
        validation: Examples,
    ) -> None:
        self.job, self.recipe, self.place = job, recipe, place
        self.train, self.validation = train, validation
        self.kind = KINDS[job.dataset.task]
        self.metric = job.train.metric or self.kind.metric
        self.class_weights, prior = weigh(train, job.dataset, job.train)
        self.loss = LOSSES[self.kind.loss](
            LossSettings(job.train.loss, prior, recipe.smoothing, job.train.class_weights == "balanced")
        )
        with place.strategy.scope():
            keras.utils.set_random_seed(job.seed)
            self.model = build()
            self.variables, rates = trainable(self.model, recipe.rates)
            self.optimiser = AdamW(self.variables, rates, recipe.decay, recipe.clip)
        self._step = tf.function(self._one_step, self._signature(), autograph=False, reduce_retracing=True)
        self._forward = forward(self.model)
        self._compiled = tf.function(self._gradients, jit_compile=True) if place.xla else self._gradients
        self.steps_per_epoch = train.steps(recipe.batch_size)
        self.steps = self.steps_per_epoch * recipe.epochs
        self.step = 0
        self.total_loss: Any = 0.0
        self.curves: dict[str, list[float]] = {"loss": [], self.metric: []}
        self.best: list[np.ndarray] = []
        self.mean: list[np.ndarray] = []
        self.samples = 0
        self.checkpoint = Checkpoint(
            job.folder / "checkpoint.npz",
            content_of(
                job.dataset.content, job.train, recipe, job.seed, [tuple(v.shape) for v in self.model.variables]
            ),
        )
        self.saved = self.reported = time.monotonic()
        self.timed: tuple[float, float] | None = None

    @property
    def _state(self) -> list[Any]:
        return [*self.model.variables, *self.optimiser.variables]

    def _signature(self) -> list[Any] | None:
        """What a step is traced for, once; what goes to several replicas has no such form."""
        if self.place.replicas > 1:
            return None
        targets = self.train.block(0).targets
        float32 = tf.float32
        targets_spec = tf.TensorSpec([None] * targets.ndim, targets.dtype)
        return [specs(self.model), targets_spec, tf.TensorSpec([None], float32), tf.TensorSpec([], float32)]

    def run(self) -> None:
        """Trains; leaves the chosen weights in the model."""
        self._resume()
        while self.step < self.steps and not self._finished():
            self._run_epoch()
            self._end_epoch()
        if not self.recipe.average:
            self.model.set_weights(self.best)

    def _run_epoch(self) -> None:
        epoch, done = divmod(self.step, self.steps_per_epoch)
        generator = np.random.default_rng([self.job.seed, epoch])
        # XLA compiles a step anew for each shape: sixteen positions more or less share one.
        batches = self.train.epoch(self.recipe.batch_size, generator, 16 if self.place.xla else 1)
        for batch in itertools.islice(batches, done, None):
            self.total_loss += self._take(batch)
            self.step += 1
            self._fit_into_time()
            self._sample()
            self._report()
            # Asked after each step, since the steps may just have been cut: beyond the last one the rate is negative.
            if self.step >= self.steps:
                break
            if time.monotonic() - self.saved >= CHECKPOINT_SECONDS:
                self._save()

    def _end_epoch(self) -> None:
        if self.recipe.average and self.step >= self.steps:
            self.model.set_weights(self.mean)
        logits = predict(self._forward, self.validation)
        value = self.kind.metrics(logits, self.validation.targets)[self.metric]
        # Of equal epochs the last, which has seen more and ended at a lower rate.
        if value >= max(self.curves[self.metric], default=-1.0):
            self.best = self.model.get_weights()
        self.curves["loss"].append(float(self.total_loss) / ((self.step - 1) % self.steps_per_epoch + 1))
        self.curves[self.metric].append(value)
        self.total_loss = 0.0
        self._save()
        self.job.epoch_ended(len(self.curves[self.metric]) - 1, value)

    def _finished(self) -> bool:
        values = self.curves[self.metric]
        if not values:
            return False
        reached = self.job.train.target is not None and max(values) >= self.job.train.target
        stalled = len(values) - 1 - int(np.argmax(values)) >= self.recipe.patience
        return reached or (stalled and not self.recipe.average)

    def _take(self, batch: Batch) -> Any:
        rows = self.recipe.batch_size if self.place.xla else len(batch.weights)
        batch = filled(batch, -(-rows // self.place.replicas) * self.place.replicas)
        weights = batch.weights
        if self.class_weights is not None:
            each = batch.targets @ self.class_weights if batch.targets.ndim > 1 else self.class_weights[batch.targets]
            weights = weights * each
        weights = (weights / max(float(weights.sum()), 1e-9)).astype(np.float32)
        shares = self.place.shares
        inputs = {name: shares(array) for name, array in batch.inputs.items()}
        rate = tf.constant(self.recipe.rate(self.step, self.steps), tf.float32)
        return self._step(inputs, shares(batch.targets), shares(weights), rate)

    def _one_step(self, inputs: Any, targets: Any, weights: Any, rate: Any) -> Any:
        loss, gradients = self.place.strategy.run(self._compiled, args=(inputs, targets, weights))
        self.optimiser.apply(gradients, rate)
        return self.place.strategy.reduce("SUM", loss, axis=None)

    def _gradients(self, inputs: Any, targets: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = tf.cast(self.model(inputs, training=True), tf.float32)
            loss = tf.reduce_sum(weights * self.loss(targets, logits))
        gradients = tape.gradient(loss, [variable.value for variable in self.variables])
        if self.place.replicas > 1:
            gradients = [tf.convert_to_tensor(gradient) for gradient in gradients]
        return loss, gradients

    def _sample(self) -> None:
        """Adds the weights to the mean over the last epoch, `AVERAGED` times."""
        left = self.steps - self.step
        every = max(min(self.steps_per_epoch, self.steps) // AVERAGED, 1)
        if self.recipe.average and left < self.steps_per_epoch and left % every == 0:
            weights = self.model.get_weights()
            self.samples += 1
            self.mean = self.mean or [np.zeros_like(weight) for weight in weights]
            self.mean = [mean + (weight - mean) / self.samples for mean, weight in zip(self.mean, weights, strict=True)]

    def _fit_into_time(self) -> None:
        """Cuts the steps to what the recipe's seconds allow, by the time of the first steps.

        On a busy machine that is the time they would take on an idle one: what else runs must not decide how
        good a model becomes.
        """
        if self.recipe.seconds is None or self.place.workers > 1 or self.step > LAST_TIMED:
            return
        if self.step == FIRST_TIMED:
            self.timed = (time.monotonic(), time.process_time())
        elif self.step == LAST_TIMED and self.timed is not None:
            wall, processor = time.monotonic() - self.timed[0], time.process_time() - self.timed[1]
            each = min(wall, processor / shared_cores()) / (LAST_TIMED - FIRST_TIMED)
            self.steps = min(self.steps, max(int(self.recipe.seconds / each), LAST_TIMED))

    def _report(self) -> None:
        if time.monotonic() - self.reported >= REPORT_SECONDS:
            self.reported = time.monotonic()
            values = self.curves[self.metric]
            best = f", {self.metric} {max(values):.3f}" if values else ""
            self.job.progress(self.step / self.steps, f"epoch {self.step // self.steps_per_epoch + 1}{best}")

    def _save(self) -> None:
        self.saved = time.monotonic()
        if self.place.chief:
            state = [variable.numpy() for variable in self._state]
            values = {
                "step": self.step,
                "steps": self.steps,
                "total_loss": float(self.total_loss),
                "curves": self.curves,
                "samples": self.samples,
            }
            self.checkpoint.save({"state": state, "best": self.best, "mean": self.mean}, values)

    def _resume(self) -> None:
        saved = self.checkpoint.load()
        if saved is None:
            return
        for variable, value in zip(self._state, saved.arrays["state"], strict=True):
            variable.assign(value)
        self.best, self.mean = saved.arrays["best"], saved.arrays["mean"]
        self.step, self.steps = saved.values["step"], saved.values["steps"]
        self.total_loss, self.samples = saved.values["total_loss"], saved.values["samples"]
        self.curves = saved.values["curves"]


def weigh(train: Examples, dataset: Dataset, settings: TrainSettings) -> tuple[np.ndarray | None, np.ndarray]:
    """The weight of each class's rows, or None where all weigh the same, and each label's share of the rows.

    Where a text has not one class the loss balances; see `LossSettings`.
    """
    kind = KINDS[dataset.task]
    labels = len(kind.outputs(dataset.labels))
    counts = np.sum([kind.counts(block.targets, block.weights, labels) for block in train.blocks()], axis=0)
    prior = (counts / max(sum(train.block_rows), 1)).astype(np.float32)
    balanced = settings.class_weights == "balanced" or (
        settings.class_weights == "auto" and dataset.profile.imbalance >= IMBALANCE
    )
    if not balanced or not kind.exclusive:
        return None, prior
    weights = counts.sum() / (labels * np.maximum(counts, 1.0))
    return weights.astype(np.float32), prior
