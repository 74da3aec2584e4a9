"""A quick model folder for benchmarks and tests: TF-IDF n-grams and logistic regression, as one small ONNX graph."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.encoding import GramEncoder, gram_groups
from bentos.text_classifier.manifest import GRAPH, GramSettings, Manifest, dump
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.text import fold


def read_set(folder: Path, name: str, part: str) -> tuple[list[str], list[str]]:
    """Texts and labels of a part of a shared data set."""
    table = pq.read_table(folder / f"{name}.{part}.parquet")
    return table["text"].to_pylist(), table["label"].to_pylist()


def write_linear_model(
    folder: Path,
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    words: tuple[int, int] = (1, 2),
    characters: tuple[int, int] | None = None,
    strength: float = 30.0,
    min_count: int = 1,
    **manifest: Any,
) -> TextModel:
    """Trains on `texts`, writes a model folder into `folder` and opens it.

    `strength` is scikit-learn's C; `manifest` gives further fields of `model.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = GramSettings("grams", "grams.npz", words=words, characters=characters)
    documents = Counter(gram for text in texts for group in gram_groups(fold(text), settings) for gram in set(group))
    vocabulary = sorted(gram for gram, count in documents.items() if count >= min_count)
    counts = np.array([documents[gram] for gram in vocabulary])
    encoder = GramEncoder(settings, vocabulary, (np.log((1 + len(texts)) / (1 + counts)) + 1).astype(np.float32))
    names = sorted(set(labels))
    coefficients, intercept = _fit(encoder, texts, [names.index(label) for label in labels], strength)
    (folder / settings.file).write_bytes(encoder.dump())
    (folder / MANIFEST).write_bytes(dump(Manifest(labels=names, encoders=[settings], **manifest)))
    onnx.save(_graph(coefficients, intercept), folder / GRAPH)
    return TextModel.load(folder)


def _fit(
    encoder: GramEncoder, texts: Sequence[str], targets: list[int], strength: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients float32 [n-grams + 1, labels] (row 0 is the padding's) and intercept float32 [labels]."""
    inputs = encoder.encode(texts)
    ids, weights = inputs["grams"], inputs["grams_weights"]
    used = ids > 0
    features = csr_matrix(
        (weights[used], (np.nonzero(used)[0], ids[used])), shape=(len(texts), len(encoder.vocabulary) + 1)
    )
    model = LogisticRegression(C=strength, max_iter=300).fit(features, targets)
    coefficients, intercept = model.coef_, model.intercept_
    if len(coefficients) == 1:  # two classes share one row of coefficients
        coefficients, intercept = np.stack([-coefficients[0], coefficients[0]]) / 2, np.array([-1, 1]) * intercept / 2
    return coefficients.T.astype(np.float32), intercept.astype(np.float32)


def _graph(coefficients: np.ndarray, intercept: np.ndarray) -> onnx.ModelProto:
    """logits[text] = sum over n-grams of weight x coefficients[id], plus the intercept."""
    helper = onnx.helper
    nodes = [
        helper.make_node("Gather", ["coefficients", "grams"], ["rows"]),
        helper.make_node("Unsqueeze", ["grams_weights", "last"], ["column"]),
        helper.make_node("Mul", ["rows", "column"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "middle"], ["summed"], keepdims=0),
        helper.make_node("Add", ["summed", "intercept"], ["logits"]),
    ]
    constants = {
        "coefficients": coefficients,
        "intercept": intercept,
        "last": np.array([2], np.int64),
        "middle": np.array([1], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "linear",
        [
            helper.make_tensor_value_info("grams", onnx.TensorProto.INT32, ["texts", "grams"]),
            helper.make_tensor_value_info("grams_weights", onnx.TensorProto.FLOAT, ["texts", "grams"]),
        ],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["texts", len(intercept)])],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
