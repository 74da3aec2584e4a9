"""The training loop: what it learns, when it stops, and that an interruption leaves no trace."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tasks.learning.training
from tasks.base.manifests import Dataset
from tasks.base.settings import TrainSettings
from tasks.learning.backend import keras
from tasks.learning.examples import filled, training_texts
from tasks.learning.job import Job
from tasks.learning.recipe import Recipe
from tasks.learning.tokenisers import fit_tokeniser
from tasks.learning.training import Trained, fit, weigh
from tests.tasks.toy import make_dataset

RECIPE = Recipe(epochs=8, batch_size=16, learning_rate=0.05, patience=9)


def make_job(folder: Path, dataset: Dataset, train: TrainSettings = TrainSettings(), **others: Any) -> Job:  # noqa: B008
    return Job(dataset, folder, train, "quick", 5, **others)


def run(job: Job, recipe: Recipe = RECIPE) -> Trained:
    encoder = fit_tokeniser(training_texts(job.dataset), size=100, max_length=16)

    def build() -> keras.Model:
        ids = keras.Input((None,), dtype="int32", name=encoder.settings.name)
        values = keras.layers.Embedding(encoder.tokenizer.get_vocab_size(), 8, name="embedding")(ids)
        values = keras.layers.Dropout(0.3)(keras.layers.GlobalAveragePooling1D()(values))
        logits = keras.layers.Dense(len(job.dataset.labels), dtype="float32", name="logits")(values)
        return keras.Model({encoder.settings.name: ids}, logits)

    return fit(job, build, [encoder], recipe)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("data"), rows=160)


def equal(one: Trained, other: Trained) -> bool:
    pairs = zip(one.model.get_weights(), other.model.get_weights(), strict=True)
    return all(np.array_equal(left, right) for left, right in pairs)


def test_it_learns_and_a_second_training_is_the_same(tmp_path: Path, dataset: Dataset) -> None:
    first = run(make_job(tmp_path / "1", dataset))
    assert first.metrics["accuracy"] > 0.9
    assert first.curves["loss"][-1] < first.curves["loss"][0]
    assert first.logits.shape == (40, 3)
    assert equal(first, run(make_job(tmp_path / "2", dataset)))


def interrupt_at(share: float) -> Callable[[float, str], None]:
    def progress(done: float, text: str) -> None:
        if done >= share:
            raise KeyboardInterrupt

    return progress


@pytest.mark.parametrize("average", [False, True])
def test_an_interrupted_training_goes_on_from_within_an_epoch(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, average: bool
) -> None:
    recipe = replace(RECIPE, average=average)
    whole = run(make_job(tmp_path / "whole", dataset), recipe)
    monkeypatch.setattr(tasks.learning.training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(tasks.learning.training, "REPORT_SECONDS", 0.0)
    cut = make_job(tmp_path / "cut", dataset, progress=interrupt_at(0.85))
    with pytest.raises(KeyboardInterrupt):
        run(cut, recipe)
    seen: list[float] = []
    resumed = run(make_job(cut.folder, dataset, progress=lambda share, text: seen.append(share)), recipe)
    assert seen[0] >= 0.85, "it went on, and did not begin anew"
    assert resumed.curves == whole.curves
    assert equal(resumed, whole)
    assert not (cut.folder / "checkpoint.npz").exists()


def test_a_checkpoint_of_other_settings_is_not_taken_up(
    tmp_path: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks.learning.training, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(tasks.learning.training, "REPORT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        run(make_job(tmp_path, dataset, progress=interrupt_at(0.5)))
    seen: list[float] = []
    run(make_job(tmp_path, dataset, progress=lambda share, text: seen.append(share)), replace(RECIPE, decay=0.5))
    assert seen[0] < 0.1


def test_it_stops_once_the_target_is_reached(tmp_path: Path, dataset: Dataset) -> None:
    trained = run(make_job(tmp_path, dataset, TrainSettings(target=0.5, epochs=50)))
    assert trained.metrics["accuracy"] >= 0.5
    assert len(trained.curves["accuracy"]) < 50


def test_it_stops_when_the_metric_stalls_and_keeps_the_best_epoch(tmp_path: Path, dataset: Dataset) -> None:
    trained = run(make_job(tmp_path, dataset), replace(RECIPE, epochs=60, patience=2))
    values = trained.curves["accuracy"]
    assert len(values) < 60
    assert trained.metrics["accuracy"] == max(values)
    assert int(np.argmax(values)) == len(values) - 3


def test_seconds_cut_the_steps(tmp_path: Path, dataset: Dataset) -> None:
    recipe = replace(RECIPE, epochs=1000, patience=1000, learning_rate=1e-6, seconds=0.01)
    assert len(run(make_job(tmp_path, dataset), recipe).curves["loss"]) < 10


@pytest.mark.parametrize("average", [False, True])
def test_a_training_cut_within_its_first_epoch_ends_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, average: bool
) -> None:
    """Beyond the last step a falling rate is negative, and what was learned is unlearned until the loss explodes."""
    monkeypatch.setattr(tasks.learning.training, "REPORT_SECONDS", 0.0)
    dataset = make_dataset(tmp_path / "data", rows=1600)
    recipe = replace(RECIPE, batch_size=4, schedule="linear", seconds=0.0, average=average)
    seen: list[float] = []
    trained = run(make_job(tmp_path / "job", dataset, progress=lambda share, text: seen.append(share)), recipe)
    assert max(seen) == 1.0
    assert len(trained.curves["loss"]) == 1
    assert trained.curves["loss"][0] < np.log(3) + 0.1
    assert trained.metrics["accuracy"] > 0.5


def test_a_frozen_variable_stays_as_it_was(tmp_path: Path, dataset: Dataset) -> None:
    still = run(make_job(tmp_path / "still", dataset), replace(RECIPE, epochs=1, learning_rate=1e-12))
    trained = run(make_job(tmp_path / "trained", dataset), replace(RECIPE, epochs=1, rates={"embedding": 0.0}))
    table, kernel = trained.model.get_weights()[:2]
    assert np.allclose(table, still.model.get_weights()[0], atol=1e-9)
    assert not np.allclose(kernel, still.model.get_weights()[1], atol=1e-3)


@pytest.mark.parametrize("loss", ["focal", "logit_adjusted"])
def test_other_losses_learn_too(tmp_path: Path, dataset: Dataset, loss: str) -> None:
    train = TrainSettings(loss=loss)  # type: ignore[arg-type]
    assert run(make_job(tmp_path, dataset, train)).metrics["accuracy"] > 0.9


def test_several_labels_a_text(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", task="multi", rows=300)
    trained = run(make_job(tmp_path / "job", dataset), replace(RECIPE, epochs=12))
    assert trained.metrics["micro_f1"] > 0.9


def test_bfloat16_trains_and_leaves_a_float32_model(tmp_path: Path, dataset: Dataset) -> None:
    trained = run(make_job(tmp_path, dataset, TrainSettings(mixed_precision="on")))
    assert trained.metrics["accuracy"] > 0.9
    assert {layer.dtype_policy.name for layer in trained.model.layers} == {"float32"}
    assert keras.mixed_precision.dtype_policy().name == "float32"


def test_xla_learns_the_same(tmp_path: Path, dataset: Dataset) -> None:
    plain = run(make_job(tmp_path / "plain", dataset), replace(RECIPE, epochs=1))
    compiled = run(make_job(tmp_path / "xla", dataset, TrainSettings(xla="on")), replace(RECIPE, epochs=1))
    assert compiled.curves["loss"] == pytest.approx(plain.curves["loss"], rel=0.2)


def test_the_rate_rises_and_falls() -> None:
    recipe = Recipe(epochs=1, batch_size=1, learning_rate=1.0, warm_up=0.1, schedule="linear")
    rates = [recipe.rate(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[9] == 1.0
    assert rates[-1] == pytest.approx(1 / 90)
    assert replace(recipe, schedule="cosine").rate(55, 100) == pytest.approx(0.5)


def test_the_user_overrules_the_recipe() -> None:
    recipe = RECIPE.with_settings(TrainSettings(epochs=2, batch_size=8, learning_rate=0.5))
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate) == (2, 8, 0.5)
    assert RECIPE.with_settings(TrainSettings()) == RECIPE


class TwoBlocks:
    """Rows of classes 0 (three) and 1 (one)."""

    block_rows = (4,)

    def blocks(self) -> Any:
        from tasks.learning.examples import Block

        yield Block([], np.array([0, 0, 0, 1], np.int32), np.ones(4, np.float32))


def test_balanced_weights_give_each_class_the_same_sum(dataset: Dataset) -> None:
    two = dataset.model_copy(update={"labels": ["a", "b"]})
    examples: Any = TwoBlocks()
    weights, prior = weigh(examples, two, TrainSettings(class_weights="balanced"))
    assert weights is not None
    assert weights.tolist() == pytest.approx([4 / 6, 2.0])
    assert prior.tolist() == pytest.approx([0.75, 0.25])
    assert weigh(examples, two, TrainSettings(class_weights="none"))[0] is None


def test_filling_adds_rows_that_weigh_nothing() -> None:
    from tasks.learning.examples import Batch

    batch = Batch({"ids": np.ones((3, 2), np.int32)}, np.array([1, 0, 2]), np.ones(3, np.float32))
    full = filled(batch, 4)
    assert full.inputs["ids"].shape == (4, 2)
    assert full.weights.tolist() == [1, 1, 1, 0]
