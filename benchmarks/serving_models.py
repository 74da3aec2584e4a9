"""Model folders for `serving.py`: one so small that the server is the cost, and a transformer of random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.manifest import GRAPH, Manifest, TokenSettings, dump

LABELS = ["science", "sport", "food", "travel"]
VOCABULARY = 2_000


def tiny_folder(folder: Path) -> Path:
    """The mean of 16-wide embeddings and a linear layer. Writes into `folder` and returns it."""
    graph = _Graph()
    graph.add("Gather", ["table", "tokens"], "rows", table=(VOCABULARY, 16))
    graph.add("ReduceMean", ["rows"], "mean", axes=[1], keepdims=0)
    graph.add("MatMul", ["mean", "kernel"], "logits", kernel=(16, len(LABELS)))
    return graph.write(folder, "tiny")


def transformer_folder(folder: Path, layers: int = 4, width: int = 256, heads: int = 4) -> Path:
    """An encoder of `layers` layers, mean pooling and a linear layer; random weights, so its answers mean nothing."""
    graph = _Graph()
    split = (0, 0, heads, width // heads)
    graph.add("Gather", ["table", "tokens"], "x0", table=(VOCABULARY, width))
    for layer in range(layers):
        x, name = f"x{layer}", f"l{layer}"
        for part in "qkv":
            graph.add("MatMul", [x, f"{name}{part}w"], f"{name}{part}", **{f"{name}{part}w": (width, width)})
            graph.constant(f"{name}{part}shape", np.array(split, np.int64))
            graph.add("Reshape", [f"{name}{part}", f"{name}{part}shape"], f"{name}{part}4")
            order = [0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]
            graph.add("Transpose", [f"{name}{part}4"], f"{name}{part}t", perm=order)
        graph.add("MatMul", [f"{name}qt", f"{name}kt"], f"{name}raw")
        graph.constant(f"{name}scale", np.array((width // heads) ** -0.5, np.float32))
        graph.add("Mul", [f"{name}raw", f"{name}scale"], f"{name}scaled")
        graph.add("Softmax", [f"{name}scaled"], f"{name}weights", axis=-1)
        graph.add("MatMul", [f"{name}weights", f"{name}vt"], f"{name}heads")
        graph.add("Transpose", [f"{name}heads"], f"{name}joined", perm=[0, 2, 1, 3])
        graph.constant(f"{name}joinshape", np.array((0, 0, width), np.int64))
        graph.add("Reshape", [f"{name}joined", f"{name}joinshape"], f"{name}flat")
        graph.add("Add", [f"{name}flat", x], f"{name}sum")
        graph.add("MatMul", [f"{name}sum", f"{name}up"], f"{name}wide", **{f"{name}up": (width, 4 * width)})
        graph.add("Relu", [f"{name}wide"], f"{name}active")
        graph.add("MatMul", [f"{name}active", f"{name}down"], f"{name}narrow", **{f"{name}down": (4 * width, width)})
        graph.add("Add", [f"{name}narrow", f"{name}sum"], f"x{layer + 1}")
    graph.add("ReduceMean", [f"x{layers}"], "mean", axes=[1], keepdims=0)
    graph.add("MatMul", ["mean", "kernel"], "logits", kernel=(width, len(LABELS)))
    return graph.write(folder, "transformer")


class _Graph:
    """Nodes and random weights of a graph from `tokens` to `logits`."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self._generator = np.random.default_rng(13)

    def constant(self, name: str, value: np.ndarray) -> None:
        self.weights.append(numpy_helper.from_array(value, name))

    def add(self, operator: str, inputs: list[str], output: str, **given: Any) -> None:
        """A node; a keyword that names one of its inputs is the shape of a weight, others are attributes."""
        for name in [name for name in given if name in inputs]:
            shape = given.pop(name)
            self.constant(name, self._generator.normal(0, 0.02, shape).astype(np.float32))
        self.nodes.append(helper.make_node(operator, inputs, [output], **given))

    def write(self, folder: Path, name: str) -> Path:
        words = ["[PAD]", "[UNK]", *(f"w{index}" for index in range(VOCABULARY - 2))]
        tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokens = helper.make_tensor_value_info("tokens", TensorProto.INT32, ["texts", "longest"])
        logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["texts", len(LABELS)])
        graph = helper.make_graph(self.nodes, name, [tokens], [logits], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        folder.mkdir(parents=True, exist_ok=True)
        onnx.save_model(model, str(folder / GRAPH))
        (folder / "tokenizer.json").write_text(tokenizer.to_str())
        settings = TokenSettings(name="tokens", file="tokenizer.json", max_length=256)
        manifest = Manifest(version=name, architecture=name, labels=LABELS, encoders=[settings])
        (folder / MANIFEST).write_bytes(dump(manifest))
        return folder
