"""Small model folders for tests and benchmarks: real graphs and encoders, built in milliseconds.

Each label has words of its own, and a text gets the label whose words it holds, so that a test can
say which answer is right without training anything.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.encoding import GramEncoder
from bentos.text_classifier.manifest import GRAPH, GramSettings, Manifest, TokenSettings, dump

WORDS = {
    "science": ["atom", "cell", "orbit", "theory", "molecule"],
    "sport": ["goal", "match", "league", "player", "race"],
    "food": ["bread", "soup", "recipe", "sugar", "oven"],
}
"""Labels in the order of the logits, each with the words that speak for it."""

STRENGTH = 4.0
"""Logit of a text that holds words of one label only."""


def grams_folder(
    folder: Path, *, task: str = "single", version: str = "v1", words: dict[str, list[str]] | None = None
) -> Path:
    """A bag of word n-grams: Gather, weighted sum, bias. Writes into `folder` and returns it."""
    words = words or WORDS
    vocabulary = [word for group in words.values() for word in group]
    settings = GramSettings(name="grams", file="grams.npz", words=(1, 1), weighting="mean")
    encoder = GramEncoder(settings, vocabulary, np.ones(len(vocabulary), np.float32))
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "grams"], ["rows"]),
            helper.make_node("Unsqueeze", ["grams_weights", "one"], ["weights"]),
            helper.make_node("MatMul", ["weights", "rows"], ["sums"]),
            helper.make_node("Squeeze", ["sums", "one"], ["bag"]),
            helper.make_node("Add", ["bag", "bias"], ["logits"]),
        ],
        "grams",
        [_input("grams", TensorProto.INT32), _input("grams_weights", TensorProto.FLOAT)],
        [_logits(len(words))],
        [
            numpy_helper.from_array(_table(words, blank_rows=1), "table"),
            numpy_helper.from_array(_bias(task, len(words)), "bias"),
            numpy_helper.from_array(np.array([1], np.int64), "one"),
        ],
    )
    return _write(folder, graph, settings, encoder.dump(), words, task, version)


def tokens_folder(
    folder: Path, *, task: str = "single", version: str = "v1", words: dict[str, list[str]] | None = None
) -> Path:
    """A word tokenizer and the mean of its embeddings, padding included. Writes into `folder` and returns it."""
    words = words or WORDS
    vocabulary = ["[PAD]", "[UNK]", *(word for group in words.values() for word in group)]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    settings = TokenSettings(name="tokens", file="tokenizer.json", max_length=64)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "tokens"], ["rows"]),
            helper.make_node("ReduceSum", ["rows", "one"], ["bag"], keepdims=0),
            helper.make_node("Add", ["bag", "bias"], ["logits"]),
        ],
        "tokens",
        [_input("tokens", TensorProto.INT32)],
        [_logits(len(words))],
        [
            numpy_helper.from_array(_table(words, blank_rows=2), "table"),
            numpy_helper.from_array(_bias(task, len(words)), "bias"),
            numpy_helper.from_array(np.array([1], np.int64), "one"),
        ],
    )
    return _write(folder, graph, settings, tokenizer.to_str().encode(), words, task, version)


def sentence(label: str, length: int = 3) -> str:
    """A text of `length` words that all speak for `label`."""
    group = WORDS[label]
    return " ".join(group[index % len(group)] for index in range(length))


def _table(words: dict[str, list[str]], blank_rows: int) -> np.ndarray:
    """float32 [blank rows + words, labels]: a word adds `STRENGTH` to its label's logit."""
    rows = [[0.0] * len(words)] * blank_rows
    for index, group in enumerate(words.values()):
        rows += [[STRENGTH if column == index else 0.0 for column in range(len(words))]] * len(group)
    return np.array(rows, np.float32)


def _bias(task: str, labels: int) -> np.ndarray:
    # The first label is the most likely one of a text without known words; in a multi-label answer none is.
    return np.array([-2.0] * labels if task == "multi" else [0.1] + [0.0] * (labels - 1), np.float32)


def _input(name: str, kind: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["texts", f"longest_{name}"])


def _logits(labels: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["texts", labels])


def _write(
    folder: Path,
    graph: onnx.GraphProto,
    settings: GramSettings | TokenSettings,
    encoder: bytes,
    words: dict[str, list[str]],
    task: str,
    version: str,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save_model(model, str(folder / GRAPH))
    (folder / settings.file).write_bytes(encoder)
    manifest = Manifest(
        version=version,
        task=task,
        architecture=graph.name,
        labels=list(words),
        encoders=[settings],
        metrics={"accuracy": {"value": 1.0, "low": 0.9, "high": 1.0}},
        lineage={"data": "0" * 64, "model": version},
    )
    (folder / MANIFEST).write_bytes(dump(manifest))
    return folder


def with_manifest(folder: Path, **changes: object) -> Path:
    """Changes fields of the folder's `model.json` and returns the folder."""
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | changes))
    return folder
