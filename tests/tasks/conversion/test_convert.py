"""Every offered structure, from its saved file to ONNX and a SavedModel that answer alike."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from bentos.text_classifier.model import TextModel
from tasks.base.errors import PipelineError
from tasks.base.manifests import Candidate, Converted, Dataset
from tasks.base.settings import TrainSettings
from tasks.conversion.convert import compare, convert, export_graph, load_keras, write_onnx
from tasks.learning.backend import keras, ops, tf
from tasks.learning.job import Job
from tasks.models.architectures import architectures
from tasks.models.architectures.layers import Recurrence, mask_of
from tests.tasks.toy import make_dataset

SMALL: dict[str, Any] = {
    "width": 16,
    "filters": 8,
    "windows": (1, 2, 3),
    "units": 8,
    "hidden": 16,
    "heads": 2,
    "blocks": 1,
    "vocabulary": 150,
    "words": (1, 1),
    "characters": (2, 3),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make_dataset(tmp_path_factory.mktemp("data"), rows=120)


Trainer = Callable[[str], Candidate]


@pytest.fixture(scope="module")
def trained(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """Trains a structure for one epoch, once for all tests."""
    made: dict[str, Candidate] = {}

    def candidate(name: str) -> Candidate:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            job = Job(dataset, folder, TrainSettings(epochs=1, batch_size=32), "quick", 1, dict(SMALL))
            made[name] = architectures()[name].fit(job)
        return made[name]

    return candidate


@pytest.fixture
def converted(once: Converted, tmp_path: Path) -> Converted:
    """A network of convolutions, converted once; the graph is this test's own to change."""
    return once.model_copy(update={"folder": shutil.copytree(once.folder, tmp_path / "own")})


@pytest.fixture(scope="module")
def once(dataset: Dataset, trained: Trainer, tmp_path_factory: pytest.TempPathFactory) -> Converted:
    return convert(trained("cnn"), dataset, tmp_path_factory.mktemp("converted") / "out")


@pytest.mark.parametrize("name", ["bag", "cnn", "lstm", "gru", "transformer"])
def test_both_formats_answer_as_the_saved_model(
    name: str, dataset: Dataset, trained: Trainer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    converted = convert(trained(name), dataset, tmp_path / "out")
    assert max(converted.parity["largest_difference"].values()) < 1e-5
    assert set(converted.parity["labels_changed"].values()) == {0}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    model = TextModel.load(converted.folder)
    texts = ["the soup", "", "goal " * 200]
    alone = np.concatenate([model.run(model.encode([text])) for text in texts])
    assert np.allclose(model.run(model.encode(texts)), alone, atol=1e-5), "padding changes nothing"
    reloaded = tf.saved_model.load(str(converted.saved_model)).signatures["serving_default"]
    answers = reloaded(**{key: tf.constant(array) for key, array in model.encode(texts).items()})["logits"]
    assert np.allclose(answers.numpy(), alone, atol=1e-5)
    operators = {node.op_type for node in onnx.load(str(converted.folder / "model.onnx")).graph.node}
    assert not operators & {"Loop", "Scan", "If", "Erfc"}
    noise = capfd.readouterr()
    assert noise.out + noise.err == ""


@pytest.mark.parametrize(("name", "node"), [("lstm", "LSTM"), ("gru", "GRU")])
def test_a_recurrence_is_one_native_node_over_the_lengths(
    name: str, node: str, trained: Trainer, tmp_path: Path
) -> None:
    export_graph(trained(name), tmp_path)
    (found,) = [one for one in onnx.load(str(tmp_path / "model.onnx")).graph.node if one.op_type == node]
    assert len(found.input) >= 5, "the fifth input is sequence_lens"
    assert found.input[4]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("width", [5, 9])
def test_a_recurrence_equals_keras_with_its_mask(cell: str, width: int) -> None:
    """Keras' own masking is the reference: exact for every length and padding, 0 included."""
    random = np.random.default_rng(4)
    values = random.normal(size=(4, width, 3)).astype(np.float32)
    lengths = np.array([width, 2, 1, 0])
    kept = (np.arange(width) < lengths[:, None])[..., None].astype(np.float32)
    layer = Recurrence(cell, 6)
    found = ops.convert_to_numpy(layer(values, kept))
    for direction, part in ((layer.forwards, found[..., :6]), (layer.backwards, found[..., 6:])):
        keras_cell = type(direction)(6, return_sequences=True, go_backwards=direction is layer.backwards)
        keras_cell.build(values.shape)
        keras_cell.set_weights(direction.get_weights())
        expected = ops.convert_to_numpy(keras_cell(values, mask=tf.constant(kept[..., 0] > 0)))
        expected = expected[:, ::-1] if direction is layer.backwards else expected
        assert np.allclose(part, expected * kept, atol=1e-6)


def test_a_recurrence_trained_for_a_gpu_is_exported_without_cudnn(trained: Trainer) -> None:
    model = load_keras(trained("lstm").folder)
    (layer,) = [one for one in model.layers if isinstance(one, Recurrence)]
    assert layer.forwards.use_cudnn is False
    assert layer.backwards.use_cudnn is False


def test_a_graph_that_answers_otherwise_is_refused(dataset: Dataset, trained: Trainer, converted: Converted) -> None:
    path = converted.folder / "model.onnx"
    graph = onnx.load(str(path))
    bias = next(one for one in graph.graph.initializer if list(one.dims) == [3])
    moved = onnx.numpy_helper.to_array(bias) + np.array([2.0, 0.0, 0.0], np.float32)
    bias.CopyFrom(onnx.numpy_helper.from_array(moved, bias.name))
    onnx.save_model(graph, str(path))
    with pytest.raises(PipelineError, match="does not answer as the trained one"):
        compare(load_keras(trained("cnn").folder), converted.folder, converted.saved_model, dataset)


def test_a_broken_graph_is_found_by_loading_it(dataset: Dataset, trained: Trainer, converted: Converted) -> None:
    (converted.folder / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(PipelineError, match="does not load"):
        compare(load_keras(trained("cnn").folder), converted.folder, converted.saved_model, dataset)


def test_a_keras_mask_is_refused_as_a_loop(trained: Trainer, tmp_path: Path) -> None:
    candidate = trained("cnn")
    folder = tmp_path / "masked"
    folder.mkdir()
    for file in candidate.folder.glob("*.json"):
        (folder / file.name).write_bytes(file.read_bytes())
    ids: Any = keras.Input((None,), dtype="int32", name=load_keras(candidate.folder).inputs[0].name)
    embedded = keras.layers.Embedding(200, 4, mask_zero=True)(ids)
    keras.Model({ids.name: ids}, keras.layers.LSTM(3, name="logits")(embedded)).save(folder / "model.keras")
    with pytest.raises(PipelineError, match="Loop"):
        export_graph(candidate.model_copy(update={"folder": folder}), tmp_path / "out")


def test_weights_beyond_the_protobuf_limit_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    """The limit is 2 GiB; a lower one takes the same path."""
    import onnxruntime

    ids = keras.Input((None,), dtype="int32", name="ids")
    values = keras.layers.Embedding(1000, 8)(ids) * mask_of(ids)
    model = keras.Model({"ids": ids}, ops.sum(Recurrence("lstm", 4)(values, mask_of(ids)), axis=1))
    write_onnx(model, tmp_path / "model.onnx", external_bytes=1000)
    assert (tmp_path / "model.onnx.data").stat().st_size >= 1000 * 8 * 4
    assert (tmp_path / "model.onnx").stat().st_size < 20_000
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    batch = np.array([[3, 4, 0], [0, 0, 0]], np.int32)
    expected = ops.convert_to_numpy(model({"ids": batch}))
    assert np.allclose(np.asarray(session.run(None, {"ids": batch})[0]), expected, atol=1e-6)
