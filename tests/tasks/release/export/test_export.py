"""Every form is written whole, loads again in its own library and answers as the served model."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bentos.text_classifier.manifest import GRAPH
from tasks.base.errors import InputError, PipelineError
from tasks.base.manifests import Converted, Evaluation
from tasks.release.export import Form, export, forms, parse
from tests.tasks.deployment.supervisor.bento import evaluation, turned


@pytest.fixture
def evaluated(tmp_path: Path) -> Evaluation:
    return evaluation(tmp_path)


@pytest.fixture
def converted(evaluated: Evaluation, tmp_path: Path) -> Converted:
    return Converted(folder=evaluated.folder, saved_model=tmp_path / "none", parity={}, content="")


def saved_model(evaluated: Evaluation, folder: Path) -> None:
    """The tiny model's table and bias as a SavedModel with the signature that `convert` writes."""
    from tasks.learning.backend import tf

    graph = onnx.load(str(evaluated.folder / GRAPH)).graph
    weights = {entry.name: numpy_helper.to_array(entry) for entry in graph.initializer}
    module: Any = tf.Module()
    module.table, module.bias = (tf.Variable(tf.constant(weights[name])) for name in ("table", "bias"))
    specs = [
        tf.TensorSpec([None, None], kind, name) for name, kind in (("grams", "int32"), ("grams_weights", "float32"))
    ]

    @tf.function(input_signature=specs)
    def serve(grams: Any, grams_weights: Any) -> dict[str, Any]:
        rows = tf.gather(module.table, grams)
        return {"logits": tf.einsum("tg,tgl->tl", grams_weights, rows) + module.bias}

    module.serve = serve
    tf.saved_model.save(module, str(folder), signatures={"serving_default": serve})


def test_every_form_is_offered() -> None:
    assert list(forms()) == ["onnx", "tfserving", "triton"]


def test_onnx_is_a_model_folder_with_its_labels(evaluated: Evaluation, converted: Converted, tmp_path: Path) -> None:
    done = export("onnx", tmp_path / "out", converted, evaluated)
    assert done.path == tmp_path / "out" / "model"
    assert done.difference == 0
    assert {path.name for path in done.path.iterdir()} == {"model.json", "model.onnx", "grams.npz", "labels.txt"}
    assert (done.path / "labels.txt").read_text().split() == list(turned(1))


def test_an_export_replaces_an_earlier_one(evaluated: Evaluation, converted: Converted, tmp_path: Path) -> None:
    first = export("onnx", tmp_path / "out", converted, evaluated)
    (first.path / "old").touch()
    assert not (export("onnx", tmp_path / "out", converted, evaluated).path / "old").exists()


def test_triton_gets_a_repository_whose_configuration_is_the_graphs(
    evaluated: Evaluation, converted: Converted, tmp_path: Path
) -> None:
    done = export("triton", tmp_path / "out", converted, evaluated)
    config = (done.path / "repository" / "text_classifier" / "config.pbtxt").read_text()
    assert (done.path / "repository" / "text_classifier" / "1" / "model.onnx").is_file()
    assert '{ name: "grams" data_type: TYPE_INT32 dims: [ -1 ] }' in config
    assert '{ name: "logits" data_type: TYPE_FP32 dims: [ 3 ] label_filename: "labels.txt" }' in config
    assert "dynamic_batching" in config
    assert done.difference == 0


@pytest.mark.slow
def test_tensorflow_serving_gets_numbered_saved_models(
    evaluated: Evaluation, converted: Converted, tmp_path: Path
) -> None:
    saved_model(evaluated, tmp_path / "saved")
    converted = converted.model_copy(update={"saved_model": tmp_path / "saved"})
    for number in (1, 2):
        done = export("tfserving", tmp_path / "text_classifier", converted, evaluated)
        assert done.path == tmp_path / "text_classifier" / str(number)
    assert (done.path / "saved_model.pb").is_file()
    assert (done.path / "assets.extra" / "labels.txt").is_file()
    assert done.difference < 1e-5


def test_an_export_that_answers_otherwise_is_refused_and_gone(
    evaluated: Evaluation, converted: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = forms()["onnx"]
    off = Form("off", form.write, lambda folder: form.check(folder) + np.float32(0.5), form.reference)
    monkeypatch.setattr("tasks.release.export._REGISTRY", {"off": off})
    with pytest.raises(PipelineError, match=r"the off export answers otherwise: its logits differ by up to 0.5"):
        export("off", tmp_path / "out", converted, evaluated)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_triton_configuration_that_is_not_the_graphs_is_found(
    evaluated: Evaluation, converted: Converted, tmp_path: Path
) -> None:
    done = export("triton", tmp_path / "out", converted, evaluated)
    file = done.path / "repository" / "text_classifier" / "config.pbtxt"
    file.write_text(file.read_text().replace("TYPE_INT32", "TYPE_INT64"))
    with pytest.raises(PipelineError, match=r"config.pbtxt does not describe the graph's grams"):
        forms()["triton"].check(done.path)


@pytest.mark.parametrize("pair", ["onnx", "onnx=", "keras=out", "=out"])
def test_what_is_no_pair_is_refused(pair: str) -> None:
    with pytest.raises(InputError, match="is not KIND=DIR with KIND one of onnx, tfserving, triton"):
        parse((pair,))


def test_pairs_are_taken_apart() -> None:
    assert parse(("onnx=a", "triton=b=c")) == [("onnx", Path("a")), ("triton", Path("b=c"))]


def test_a_folder_that_cannot_be_written_is_refused(
    evaluated: Evaluation, converted: Converted, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot be written"):
        export("onnx", tmp_path / "file", converted, evaluated)
