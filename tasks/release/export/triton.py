"""Triton: a model repository `text_classifier` with the ONNX graph and a `config.pbtxt` with dynamic batching."""

import re
from pathlib import Path

import numpy as np
import onnxruntime

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.encoding import LOADERS
from bentos.text_classifier.manifest import GRAPH, parse
from tasks.base.errors import PipelineError
from tasks.base.manifests import Converted, Evaluation
from tasks.release.export import TEXTS, Form, copy_contract, copy_graph, register
from tasks.release.package import NAME

CONFIG = "config.pbtxt"
REPOSITORY = "repository"
CLIENT = "client"  # beside the repository: Triton would take every folder in it for a model
MAX_BATCH = 32
MAX_DELAY_MICROSECONDS = 500

_TYPES = {"tensor(int32)": "TYPE_INT32", "tensor(int64)": "TYPE_INT64", "tensor(float)": "TYPE_FP32"}
_TENSOR = re.compile(r'name: "(?P<name>[^"]+)"\s+data_type: (?P<kind>\w+)\s+dims: \[(?P<dims>[^\]]*)\]')


def write(converted: Converted, evaluation: Evaluation, folder: Path) -> None:
    repository = folder / REPOSITORY / NAME
    copy_graph(evaluation, repository / "1")
    copy_contract(evaluation, folder / CLIENT)
    (repository / "labels.txt").write_bytes((folder / CLIENT / "labels.txt").read_bytes())
    (repository / CONFIG).write_text(_config(_session(repository / "1")))


def check(folder: Path) -> np.ndarray:
    """The repository's graph, fed as its configuration promises."""
    repository = folder / REPOSITORY / NAME
    session = _session(repository / "1")
    promised = {match["name"]: match for match in _TENSOR.finditer((repository / CONFIG).read_text())}
    for entry in (*session.get_inputs(), *session.get_outputs()):
        match = promised.pop(entry.name, None)
        dims = [int(dim) for dim in match["dims"].split(",")] if match else None
        if match is None or match["kind"] != _TYPES[entry.type] or dims != _dims(entry.shape):
            raise PipelineError(f"{CONFIG} does not describe the graph's {entry.name}")
    if promised:
        raise PipelineError(f"{CONFIG} describes {', '.join(promised)}, which the graph has not")
    manifest = parse((folder / CLIENT / MANIFEST).read_bytes())
    inputs = {}
    for settings in manifest.encoders:
        inputs |= LOADERS[type(settings)](settings, lambda name: (folder / CLIENT / name).read_bytes()).encode(TEXTS)
    wanted = {entry.name: inputs[entry.name] for entry in session.get_inputs()}
    return np.asarray(session.run(["logits"], wanted)[0])


def _session(folder: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(folder / GRAPH), providers=["CPUExecutionProvider"])


def _config(session: onnxruntime.InferenceSession) -> str:
    inputs = ",\n".join(_tensor(entry) for entry in session.get_inputs())
    outputs = ",\n".join(_tensor(entry, ', label_filename: "labels.txt"') for entry in session.get_outputs())
    return (
        f'name: "{NAME}"\nbackend: "onnxruntime"\nmax_batch_size: {MAX_BATCH}\n'
        f"input [\n{inputs}\n]\noutput [\n{outputs}\n]\n"
        f"dynamic_batching {{\n  max_queue_delay_microseconds: {MAX_DELAY_MICROSECONDS}\n}}\n"
        "instance_group [ { kind: KIND_CPU, count: 1 } ]\n"
        'parameters { key: "intra_op_thread_count" value: { string_value: "1" } }\n'
    )


def _tensor(entry: onnxruntime.NodeArg, more: str = "") -> str:
    dims = ", ".join(str(dim) for dim in _dims(entry.shape))
    return f'  {{ name: "{entry.name}" data_type: {_TYPES[entry.type]} dims: [ {dims} ]{more.replace(",", "", 1)} }}'


def _dims(shape: list[int | str | None]) -> list[int]:
    """Triton's dims: without the batch, -1 for any length."""
    return [dim if isinstance(dim, int) else -1 for dim in shape[1:]]


register(Form("triton", write, check, lambda converted, evaluation: evaluation.folder))
