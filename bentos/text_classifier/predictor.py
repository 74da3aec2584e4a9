"""Answers for batches of requests: one model run for texts of like length, one bad text alone refused."""

import logging
import re
from itertools import groupby
from pathlib import Path

import numpy as np
import onnxruntime

from bentos.text_classifier.batching import Item
from bentos.text_classifier.decoding import Prediction
from bentos.text_classifier.model import CPU, ModelError, TextModel
from bentos.text_classifier.settings import ServiceSettings
from bentos.text_classifier.text import clean

logger = logging.getLogger(__name__)

CUDA = "CUDAExecutionProvider"

_LETTER = re.compile(r"\w")
_NEAR = 64


def open_model(folder: Path, settings: ServiceSettings, threads: int) -> TextModel:
    """The model on the provider that the settings ask for.

    Raises:
        ModelError: the folder cannot be opened, or CUDA was asked for in strict mode and is not in use.
    """
    wanted = (CUDA, *CPU) if settings.gpu else CPU
    offered = onnxruntime.get_available_providers()
    model = TextModel.load(folder, threads=threads, providers=[name for name in wanted if name in offered])
    if settings.gpu and provider(model) != CUDA:
        message = f"CUDA was asked for, but {provider(model)} is in use"
        if settings.strict_gpu:
            raise ModelError(f"{message}; install the GPU's driver and CUDA libraries, or set strict_gpu to false")
        logger.warning("%s: the model runs on the CPU, and slowly", message)
    return model


def provider(model: TextModel) -> str:
    """The ONNX Runtime execution provider that is really in use."""
    return model.session.get_providers()[0]


class NotFinite(Exception):
    """The model gave a score that is no number."""


class Predictor:
    """Batches of items to answers; see `batching.Infer`."""

    def __init__(self, model: TextModel) -> None:
        self.model = model

    def infer(self, items: list[Item]) -> list[Prediction | Exception]:
        """An answer for every item, in order. A group that fails is tried again text by text."""
        if len(items) == 1 or _alike(items):
            return self._group(items)
        order = sorted(range(len(items)), key=lambda index: len(items[index].text))
        answers: list[Prediction | Exception] = [NotFinite()] * len(items)
        for chosen in _by_length(order, items):
            for index, answer in zip(chosen, self._group([items[index] for index in chosen]), strict=True):
                answers[index] = answer
        return answers

    def _group(self, items: list[Item]) -> list[Prediction | Exception]:
        try:
            return self._run(items)
        except Exception as error:
            if len(items) == 1:
                logger.exception("a text of %d characters cannot be answered", len(items[0].text))
                return [error]
            return [answer for item in items for answer in self._group([item])]

    def _run(self, items: list[Item]) -> list[Prediction | Exception]:
        model = self.model
        texts = [item.text for item in items]
        logits = model.run(model.encode(texts))
        finite = np.asarray(np.isfinite(logits.reshape(len(texts), -1)).all(axis=1))
        if not finite.all():
            logits = np.where(np.isfinite(logits), logits, 0.0).astype(np.float32)
        answers: list[Prediction] = []
        for options, run in groupby(range(len(items)), key=lambda index: items[index].options):
            rows = list(run)
            answers += model.decode(logits[rows[0] : rows[-1] + 1], options, texts[rows[0] : rows[-1] + 1])
        for answer, text in zip(answers, texts, strict=True):
            if is_blank(text):
                # Unlike any training text, whether there is a rule or not.
                answer.in_scope = False
        return [answer if kept else NotFinite("the model's scores are no finite numbers")
                for answer, kept in zip(answers, finite.tolist(), strict=True)]  # fmt: skip


def is_blank(text: str) -> bool:
    """Whether nothing is left of `text` once spaces and invisible marks are taken away."""
    return _LETTER.search(text) is None and not clean(text)


def _alike(items: list[Item]) -> bool:
    lengths = [len(item.text) for item in items]
    return max(lengths) <= 2 * min(lengths) + _NEAR


def _by_length(order: list[int], items: list[Item]) -> list[list[int]]:
    """Runs of indices of which the longest text is at most about twice the shortest: padding stays small."""
    groups: list[list[int]] = []
    shortest = 0
    for index in order:
        length = len(items[index].text)
        if not groups or length > 2 * shortest + _NEAR:
            groups.append([])
            shortest = length
        groups[-1].append(index)
    return groups
