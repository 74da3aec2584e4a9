"""Stage: the saved Keras model as ONNX and as a SavedModel, shown to answer as it does."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.checker import MAXIMUM_PROTOBUF

from bentos.serving.model_folder import MANIFEST, ModelError
from bentos.text_classifier.manifest import GRAPH, parse
from bentos.text_classifier.model import TextModel
from tasks.base.errors import PipelineError
from tasks.base.manifests import Candidate, Converted, Dataset, content_of
from tasks.learning.backend import keras, tf, tf2onnx
from tasks.learning.candidate import WEIGHTS
from tasks.learning.examples import read_part
from tasks.models.architectures import architectures
from tasks.models.architectures.layers import Recurrence

OPSET = 18
TOLERANCE = 1e-3
PARITY_TEXTS = 300
BATCH_SIZES = (1, 2, 3, 7, 16, 32)
UNKNOWN = "\U000107a0\U000107a1 \U000107a2"


def convert(candidate: Candidate, dataset: Dataset, folder: Path) -> Converted:
    """Writes a candidate's model folder and SavedModel into `folder`, and compares both with the Keras model.

    Raises:
        PipelineError: an operator has no ONNX form, a recurrence became a loop, or the answers differ
            by more than `TOLERANCE`.
    """
    unfinished = folder.with_name(folder.name + ".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    model = export_graph(candidate, unfinished / "model")
    export_saved_model(model, unfinished / "saved_model")
    parity = compare(model, unfinished / "model", unfinished / "saved_model", dataset)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
    return Converted(
        folder=folder / "model",
        saved_model=folder / "saved_model",
        parity=parity,
        content=content_of(folder / "model"),
    )


def load_keras(folder: Path) -> keras.Model:
    """The model saved in a candidate's folder, made ready for conversion."""
    # Their modules declare the layers, also in a process that has trained nothing: a run that goes on after a kill.
    architectures()
    with tf.device("CPU"):
        model: Any = keras.models.load_model(folder / WEIGHTS)
        for layer in model._flatten_layers():
            # cuDNN's fused recurrence has no ONNX form; the plain one takes the same weights.
            if hasattr(layer, "use_cudnn"):
                layer.use_cudnn = False
    return model


def export_graph(candidate: Candidate, folder: Path) -> keras.Model:
    """Writes the model folder (`model.json`, `model.onnx`, encoders' files); gives the Keras model."""
    manifest = parse((candidate.folder / MANIFEST).read_bytes())
    folder.mkdir(parents=True, exist_ok=True)
    for name in [MANIFEST, *(settings.file for settings in manifest.encoders if settings.file)]:
        shutil.copyfile(candidate.folder / name, folder / name)
    model = load_keras(candidate.folder)
    write_onnx(model, folder / GRAPH)
    _check_graph(folder / GRAPH, candidate.name)
    return model


def signature(model: keras.Model) -> list[tf.TensorSpec]:
    """The model's inputs by name with any batch size and length."""
    return [tf.TensorSpec([None] * len(entry.shape), entry.dtype, name=entry.name) for entry in model.inputs]


def serving_function(model: keras.Model) -> Any:
    """The model as a `tf.function` from its named inputs to `logits`."""
    specs = signature(model)

    @tf.function(input_signature=specs, autograph=False)
    def serve(*inputs: Any) -> dict[str, Any]:
        named = {spec.name: value for spec, value in zip(specs, inputs, strict=True)}
        return {"logits": model(named, training=False)}

    return serve


def write_onnx(model: keras.Model, path: Path, external_bytes: int = MAXIMUM_PROTOBUF) -> None:
    """Writes the model as ONNX; with weights of `external_bytes` or more in all they go into a file beside it."""
    matrices = _matrices(model)
    specs = signature(model)
    names = {f"weight_{place}": variable for place, variable in enumerate(matrices)}

    @tf.function(autograph=False)
    def serve(*arguments: Any) -> dict[str, Any]:
        inputs, weights = arguments[: len(specs)], arguments[len(specs) :]
        with keras.StatelessScope(list(zip(matrices, weights, strict=True))):
            return {"logits": model({spec.name: one for spec, one in zip(specs, inputs, strict=True)}, training=False)}

    with tf.device("CPU"), one_node_each(model):
        converted, _ = tf2onnx.convert.from_function(
            serve,
            input_signature=[*specs, *(tf.TensorSpec(one.shape, one.dtype, name=name) for name, one in names.items())],
            opset=OPSET,
            custom_op_handlers={"PyFunc": (_recurrent_node, [])},
        )
    inputs = [one for one in converted.graph.input if one.name not in names]
    del converted.graph.input[:]
    converted.graph.input.extend(inputs)
    converted.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(keras.ops.convert_to_numpy(variable)), name)
        for name, variable in names.items()
    )
    large = sum(int(np.prod(weight.shape)) * 4 for weight in model.weights) >= external_bytes
    onnx.save_model(
        converted, str(path), save_as_external_data=large, location=f"{path.name}.data", size_threshold=1024
    )


def _matrices(model: Any) -> list[Any]:
    """The weights that are converted as inputs and put into their places afterwards.

    tf2onnx copies every constant in each of its dozens of passes and frees none before it ends: 165 MB of weights
    took 9 GB. What it computes with constants are the shapes of convolutions, and a recurrence's node holds its own.
    """
    recurrent = {
        id(weight) for layer in model._flatten_layers() if isinstance(layer, Recurrence) for weight in layer.weights
    }
    return [weight for weight in model.weights if len(weight.shape) == 2 and id(weight) not in recurrent]


@contextlib.contextmanager
def one_node_each(model: Any) -> Iterator[None]:
    """Within it the model's recurrences are traced as the placeholders that `_recurrent_node` replaces."""
    recurrences = [layer for layer in model._flatten_layers() if isinstance(layer, Recurrence)]
    for layer in recurrences:
        layer.as_one_node = True
    try:
        yield
    finally:
        for layer in recurrences:
            layer.as_one_node = False


def _recurrent_node(context: Any, node: Any, name: str, arguments: Any) -> None:
    """Turns a `Recurrence` placeholder into one bidirectional LSTM or GRU node with `sequence_lens`.

    Keras keeps the gates in the order input, forget, cell, output (LSTM) or update, reset, hidden
    (GRU); ONNX wants input, output, forget, cell, or the same.
    """
    values, lengths, *weights = node.input
    arrays = [context.get_node_by_output(weight).get_tensor_value(as_list=False) for weight in weights]
    units = arrays[1].shape[0]
    gates = arrays[1].shape[1] // units
    order = {4: [0, 3, 1, 2], 3: [0, 1, 2]}[gates]

    def arranged(array: np.ndarray) -> np.ndarray:
        """[rows, gates x units] as [gates x units, rows] in ONNX's order."""
        return np.concatenate([array.T.reshape(gates, units, -1)[gate] for gate in order])

    directions = [arrays[:3], arrays[3:]]
    stacked = {
        "W": np.stack([arranged(kernel) for kernel, _, _ in directions]),
        "R": np.stack([arranged(recurrent) for _, recurrent, _ in directions]),
        "B": np.stack([_biases(arranged, bias) for _, _, bias in directions]),
    }
    constants = [context.make_const(f"{node.name}/{key}", array).output[0] for key, array in stacked.items()]
    output = node.output[0]
    shape, dtype = context.get_shape(output), context.get_dtype(output)
    context.remove_node(node.name)
    # An empty text has one position of padding, whose features are masked where they are pooled.
    one = context.make_const(f"{node.name}/one", np.array(1, np.int32)).output[0]
    counted = context.make_node("Max", [lengths, one]).output[0]
    attributes: dict[str, Any] = {"hidden_size": units, "direction": "bidirectional"}
    if gates == 3:
        attributes["linear_before_reset"] = 1
    steps = context.make_node("Transpose", [values], attr={"perm": [1, 0, 2]}).output[0]
    recurrence = context.make_node(
        {4: "LSTM", 3: "GRU"}[gates], [steps, *constants, counted], attr=attributes, output_count=1
    )
    by_text = context.make_node("Transpose", recurrence.output, attr={"perm": [2, 0, 1, 3]}).output[0]
    # 0 keeps a dimension: [texts, positions, directions, units] becomes [texts, positions, both].
    flat = context.make_const(f"{node.name}/flat", np.array([0, 0, 2 * units], np.int64)).output[0]
    context.make_node("Reshape", [by_text, flat], outputs=[output], shapes=[shape], dtypes=[dtype])


def _biases(arranged: Callable[[np.ndarray], np.ndarray], bias: np.ndarray) -> np.ndarray:
    """Input and recurrent bias end to end; Keras' LSTM has only the first."""
    rows = bias if bias.ndim == 2 else np.stack([bias, np.zeros_like(bias)])
    return np.concatenate([arranged(row[None]).ravel() for row in rows])


def export_saved_model(model: keras.Model, folder: Path) -> None:
    """Writes TensorFlow's format with the one signature `serving_default`."""
    module: Any = tf.Module()
    module.model = model  # keeps the variables with the function
    module.serve = serving_function(model)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


def _check_graph(path: Path, name: str) -> None:
    graph = onnx.load(str(path), load_external_data=False).graph
    loops = sorted({node.op_type for node in graph.node} & {"Loop", "Scan", "If"})
    if loops:
        raise PipelineError(
            f"the model {name} was converted with {', '.join(loops)}, which runs step by step; its recurrence must "
            "read right-padded input without a Keras mask"
        )


def compare(model: keras.Model, folder: Path, saved_model: Path, dataset: Dataset) -> dict[str, Any]:
    """Largest difference of the probabilities, and labels that differ beyond a tie, in both formats.

    Validation rows and the empty and the all-unknown text, in batches of several sizes and lengths.
    """
    try:
        served = TextModel.load(folder)
    except ModelError as error:
        raise PipelineError(f"the converted model does not load: {error}") from error
    trained = serving_function(model)
    reloaded = tf.saved_model.load(str(saved_model)).signatures["serving_default"]
    texts = ["", UNKNOWN, *next(read_part(dataset, "validation", PARITY_TEXTS))[0]]
    differences = {"onnx": 0.0, "saved_model": 0.0}
    flips = {"onnx": 0, "saved_model": 0}
    for batch in _batches(texts):
        inputs = served.encode(batch)
        tensors = {name: tf.constant(array) for name, array in inputs.items()}
        wanted = served.scores(trained(*(tensors[entry.name] for entry in model.inputs))["logits"].numpy())
        answers = {"onnx": served.run(inputs), "saved_model": reloaded(**tensors)["logits"].numpy()}
        for kind, logits in answers.items():
            found = served.scores(logits)
            differences[kind] = max(differences[kind], float(np.abs(found - wanted).max()))
            flips[kind] += _flips(wanted, found)
    parity = {"texts": len(texts), "largest_difference": differences, "labels_changed": flips}
    if max(differences.values()) > TOLERANCE or any(flips.values()):
        raise PipelineError(f"the converted model does not answer as the trained one: {parity}")
    return parity


def _batches(texts: Sequence[str]) -> list[Sequence[str]]:
    """The texts in batches of the sizes of `BATCH_SIZES`, taken in turn; the odd ones alone and among others."""
    batches = [texts[:1], texts[1:2]]
    start = 0
    for index in range(len(texts)):
        size = BATCH_SIZES[index % len(BATCH_SIZES)]
        batches.append(texts[start : start + size])
        start += size
        if start >= len(texts):
            break
    return batches


def _flips(wanted: np.ndarray, found: np.ndarray) -> int:
    """Rows whose best label changed although it was ahead by more than rounding."""
    best = wanted.argmax(axis=-1)
    top = np.sort(wanted, axis=-1)
    ahead = top[..., -1] - top[..., -2] > 1e-5 if wanted.shape[-1] > 1 else np.ones(best.shape, bool)
    return int(np.sum((found.argmax(axis=-1) != best) & ahead))
