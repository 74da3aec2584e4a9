"""TensorFlow Serving: a folder of numbered SavedModels; what clients need lies in `assets.extra` of each."""

import shutil
from pathlib import Path

import numpy as np

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.encoding import LOADERS
from bentos.text_classifier.manifest import parse
from tasks.base.manifests import Converted, Evaluation
from tasks.release.export import TEXTS, Form, copy_contract, register

EXTRA = "assets.extra"


def write(converted: Converted, evaluation: Evaluation, folder: Path) -> None:
    shutil.copytree(converted.saved_model, folder, dirs_exist_ok=True)
    # TensorFlow Serving hands this folder on without reading it.
    copy_contract(evaluation, folder / EXTRA)


def check(folder: Path) -> np.ndarray:
    from tasks.learning.backend import tf  # 4 s that only this form costs

    manifest = parse((folder / EXTRA / MANIFEST).read_bytes())
    inputs = {}
    for settings in manifest.encoders:
        inputs |= LOADERS[type(settings)](settings, lambda name: (folder / EXTRA / name).read_bytes()).encode(TEXTS)
    serve = tf.saved_model.load(str(folder)).signatures["serving_default"]
    _, wanted = serve.structured_input_signature
    return serve(**{name: tf.constant(inputs[name]) for name in wanted})["logits"].numpy()


register(Form("tfserving", write, check, lambda converted, evaluation: converted.folder, versioned=True))
