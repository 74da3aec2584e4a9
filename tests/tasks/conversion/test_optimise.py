"""Variants of a converted model: made, measured, and one picked by the stated policy."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bentos.text_classifier.model import TextModel
from tasks.base.manifests import Converted, Dataset, Variant
from tasks.base.settings import Budget, OptimiseSettings, TrainSettings
from tasks.conversion.convert import convert
from tasks.conversion.optimise import TIMED_BATCHES, TURN, VARIANTS, optimise, pick, timed
from tasks.learning.job import Job
from tasks.models.architectures import architectures
from tests.tasks.toy import make_dataset


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("data"), rows=200)


@pytest.fixture(scope="module")
def converted(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    folder = tmp_path_factory.mktemp("model")
    hyper = {"width": 64, "units": 64, "vocabulary": 200}
    train = TrainSettings(epochs=4, batch_size=16, learning_rate=5e-3)
    job = Job(dataset, folder / "candidate", train, "quick", 1, hyper)
    return convert(architectures()["lstm"].fit(job), dataset, folder / "converted")


def test_every_variant_is_measured_and_one_is_picked(converted: Converted, dataset: Dataset, tmp_path: Path) -> None:
    settings = OptimiseSettings(variants=("float32", "int8", "float16"))
    told: list[tuple[float, str]] = []
    optimised = optimise(
        converted.folder,
        dataset,
        settings,
        Budget(),
        tmp_path / "out",
        gpu=False,
        progress=lambda *one: told.append(one),
    )
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert {"making int8", "timing the variants", "measuring float16"} <= {text for _, text in told}
    assert [variant.name for variant in optimised.variants] == ["float32", "int8", "float16"]
    assert [variant.picked for variant in optimised.variants].count(True) == 1
    for variant in optimised.variants:
        assert variant.reason
        assert variant.accuracy > 0.9
        assert set(variant.per_class_recall) == set(dataset.labels)
        assert set(variant.latency_ms) == set(variant.throughput) == {"1", "32"}
        assert min(variant.latency_ms.values()) > 0
        assert (variant.moved > 0) == (variant.name == "int8")
        assert TextModel.load(variant.folder).predict(["the soup recipe"])[0].label == "food"
    sizes = {variant.name: (variant.folder / "model.onnx").stat().st_size for variant in optimised.variants}
    assert sizes["int8"] < 0.35 * sizes["float32"]
    assert sizes["float16"] < 0.6 * sizes["float32"]
    assert optimised.picked.folder.parent == tmp_path / "out"


def test_int8_covers_tables_and_recurrences(converted: Converted, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(converted.folder, tmp_path / "int8")
    VARIANTS["int8"](tmp_path / "int8")
    graph = onnx.load(str(tmp_path / "int8" / "model.onnx")).graph
    assert "DynamicQuantizeLSTM" in {node.op_type for node in graph.node}
    floats = [one for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT]
    assert max(int(np.prod(one.dims)) for one in floats) < 2000


def variant(name: str, milliseconds: float, megabytes: float, accuracy: float, **recalls: float) -> Variant:
    return Variant(
        name=name,
        folder=Path(name),
        size_bytes=int(megabytes * 1e6),
        accuracy=accuracy,
        per_class_recall={"a": accuracy, "b": accuracy} | recalls,
        latency_ms={"1": milliseconds, "32": 10 * milliseconds},
        throughput={"1": 1.0, "32": 1.0},
    )


def picked(*variants: Variant, **budget: Any) -> tuple[str, dict[str, str]]:
    rows = {"a": 1000.0, "b": 19.0}
    judged = pick(variants, OptimiseSettings(), Budget(**budget), rows)
    return next(one.name for one in judged if one.picked), {one.name: one.reason for one in judged}


BASE = variant("float32", 2.0, 40, 0.90)


def test_the_fastest_that_loses_little_is_picked() -> None:
    name, reasons = picked(BASE, variant("int8", 1.0, 10, 0.898))
    assert name == "int8"
    assert reasons["int8"] == (
        "2.00 times as fast as float32, 4.00 times smaller, accuracy -0.20 points,"
        " scores move by up to 0.0000 with the other texts of a batch"
    )


def test_of_equally_fast_ones_the_smaller_is_picked() -> None:
    assert picked(BASE, variant("int8", 2.1, 10, 0.90))[0] == "int8"
    assert picked(BASE, variant("int8", 2.5, 10, 0.90))[0] == "float32"


def test_a_loss_of_accuracy_falls_back_to_float_with_the_figures() -> None:
    name, reasons = picked(BASE, variant("int8", 1.0, 10, 0.89))
    assert name == "float32"
    assert reasons["int8"] == "loses 1.00 points, more than 0.30"


def test_one_answer_of_a_hundred_that_changed_does_not_decide() -> None:
    lossy = variant("int8", 1.0, 10, 0.89)
    few, many = ({"a": rows, "b": 19.0} for rows in (81.0, 1000.0))
    assert [one.picked for one in pick([BASE, lossy], OptimiseSettings(), Budget(), few)] == [False, True]
    assert [one.picked for one in pick([BASE, lossy], OptimiseSettings(), Budget(), many)] == [True, False]


@pytest.mark.parametrize(
    ("moved", "flipped", "name", "reason"),
    [
        (0.0099, 1, "int8", "scores move by up to 0.0099"),
        (0.0101, 0, "float32", "scores move by up to 0.0101 with the other texts of a batch, more than 0.01"),
        (0.001, 2, "float32", "2 texts get another answer"),
    ],
)
def test_a_variant_whose_answers_depend_on_the_others_of_a_batch_is_not_picked(
    moved: float, flipped: int, name: str, reason: str
) -> None:
    fast = variant("int8", 1.0, 10, 0.90).model_copy(update={"moved": moved, "flipped": flipped})
    found, reasons = picked(BASE, fast)
    assert found == name
    assert reason in reasons["int8"]


def test_a_class_that_loses_is_named_and_small_classes_do_not_decide() -> None:
    name, reasons = picked(BASE, variant("int8", 1.0, 10, 0.90, a=0.8))
    assert name == "float32"
    assert "recall of 'a'" in reasons["int8"]
    assert picked(BASE, variant("int8", 1.0, 10, 0.90, b=0.5))[0] == "int8"


def test_the_budget_rules_out_what_is_too_large_or_too_slow() -> None:
    assert picked(BASE, variant("int8", 3.0, 10, 0.90), max_size_mb=20)[0] == "int8"
    assert picked(BASE, variant("int8", 1.0, 50, 0.90), max_size_mb=45)[0] == "float32"
    name, reasons = picked(BASE, variant("int8", 1.0, 10, 0.90), max_latency_ms=0.5)
    assert name == "int8"
    assert reasons["int8"].startswith("none keeps to the budget")


def test_a_batch_is_timed_in_groups_of_like_length() -> None:
    model: Any = Recorder([])
    texts = ["short", "a text of many words " * 20] * 16
    (seconds,) = timed([model], texts, 32)
    assert seconds > 0
    warm_up, *groups = model.ran
    assert len(warm_up) == 32
    assert {(len(group), len(set(group))) for group in groups} == {(16, 1)}


def test_models_are_timed_on_the_same_texts_in_turns_of_a_few_batches() -> None:
    order: list[Any] = []
    models: list[Any] = [Recorder(order), Recorder(order)]
    texts = [f"text {number}" for number in range(7)]
    assert len(timed(models, texts, 1)) == 2
    turns = [[model for model, _ in group] for _, group in itertools.groupby(order[2:], lambda one: one[0])]
    assert {len(turn) for turn in turns} == {TURN}
    first, second = ([ran for model, ran in order if model is one] for one in models)
    assert first == second
    assert {text for (text,) in first} == set(texts)
    assert len(first) == TIMED_BATCHES + 1


class Recorder:
    """In place of a model: notes the texts it ran, and in `order` who ran."""

    def __init__(self, order: list[Any]) -> None:
        self.ran: list[list[str]] = []
        self._order = order

    def encode(self, texts: list[str]) -> list[str]:
        return texts

    def run(self, texts: list[str]) -> None:
        self.ran.append(texts)
        self._order.append((self, texts))
