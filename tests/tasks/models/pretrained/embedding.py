"""An opened encoder's embeddings, by Keras and by the float64 reference."""

from pathlib import Path
from typing import Any

import numpy as np

from tasks.learning.backend import keras
from tasks.models.architectures.layers import mask_of, mean_over
from tasks.models.pretrained.encoder import encode_tokens
from tasks.models.pretrained.model import Pretrained
from tests.tasks.models.pretrained.reference import embed

TEXTS = ["the cat sat on the mat", "a dog", "", "unknown things : the dog ran far on a new mat"]


def embedder(pretrained: Pretrained, max_length: int = 32) -> tuple[keras.Model, Any]:
    encoder = pretrained.token_encoder(max_length)
    ids = keras.Input((None,), dtype="int32", name=encoder.settings.name)
    mask = mask_of(ids, encoder.settings.pad_id)
    model = keras.Model({encoder.settings.name: ids}, mean_over(encode_tokens(pretrained.shape, ids, mask)[-1], mask))
    pretrained.load_into(model)
    return model, encoder


def embeddings(pretrained: Pretrained, folder: Path, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Of the Keras model in one padded batch, and of the reference, which reads the folder, one by one."""
    model, encoder = embedder(pretrained)
    ids = encoder.encode(texts)[encoder.settings.name]
    pad = encoder.settings.pad_id
    wanted = [embed(folder, [token for token in row.tolist() if token != pad]) for row in ids]
    return np.asarray(model({encoder.settings.name: ids})), np.array(wanted)


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return (left * right).sum(1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
