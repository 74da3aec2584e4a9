"""The bare model folder: the graph, `model.json`, tokenizer or vocabulary, `labels.txt`."""

from pathlib import Path

import numpy as np

from bentos.text_classifier.model import TextModel
from tasks.base.manifests import Converted, Evaluation
from tasks.release.export import TEXTS, Form, copy_contract, copy_graph, register


def write(converted: Converted, evaluation: Evaluation, folder: Path) -> None:
    copy_graph(evaluation, folder)
    copy_contract(evaluation, folder)


def check(folder: Path) -> np.ndarray:
    model = TextModel.load(folder)
    return model.run(model.encode(TEXTS))


register(Form("onnx", write, check, lambda converted, evaluation: evaluation.folder))
