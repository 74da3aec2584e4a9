"""Answers for batches of requests: one model run for texts of like length, one bad text alone refused."""

import logging
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from bentos.serving.model_folder import ModelError
from bentos.serving.settings import ServiceSettings
from bentos.text_classifier.decoding import Options, Prediction
from bentos.text_classifier.model import CPU, TextModel
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
    """Batches of texts to answers; see `batching.Infer`."""

    def __init__(self, model: TextModel) -> None:
        self.model = model

    def infer(self, texts: list[str], options: list[Options]) -> list[Prediction | Exception]:
        """An answer for every text, in order. A group that fails is tried again text by text."""
        if len(texts) == 1 or _alike(texts):
            return self._group(texts, options)
        answers: list[Prediction | Exception] = [NotFinite()] * len(texts)
        for chosen in by_length(texts):
            group = self._group([texts[index] for index in chosen], [options[index] for index in chosen])
            for index, answer in zip(chosen, group, strict=True):
                answers[index] = answer
        return answers

    def _group(self, texts: list[str], options: list[Options]) -> list[Prediction | Exception]:
        try:
            return self._run(texts, options)
        except Exception as error:
            if len(texts) == 1:
                logger.exception("a text of %d characters cannot be answered", len(texts[0]))
                return [error]
            alone = (self._group([text], [asked]) for text, asked in zip(texts, options, strict=True))
            return [answer for (answer,) in alone]

    def _run(self, texts: list[str], options: list[Options]) -> list[Prediction | Exception]:
        model = self.model
        logits = model.run(model.encode(texts))
        finite = np.asarray(np.isfinite(logits.reshape(len(texts), -1)).all(axis=1))
        if not finite.all():
            logits = np.where(np.isfinite(logits), logits, 0.0).astype(np.float32)
        answers: list[Any] = []
        for asked, run in groupby(options):
            start = len(answers)
            rows = slice(start, start + sum(1 for _ in run))
            answers += model.decode(logits[rows], asked, texts[rows])
        for text, answer in zip(texts, answers, strict=True):
            if is_blank(text):
                # Unlike any training text, whether there is a rule or not.
                answer.in_scope = False
        for row in np.flatnonzero(~finite).tolist():
            answers[row] = NotFinite("the model's scores are no finite numbers")
        return answers


def is_blank(text: str) -> bool:
    """Whether nothing is left of `text` once spaces and invisible marks are taken away."""
    return not text[:1].isalnum() and _LETTER.search(text) is None and not clean(text)


def _alike(texts: list[str]) -> bool:
    lengths = list(map(len, texts))
    return max(lengths) <= 2 * min(lengths) + _NEAR


def by_length(texts: list[str]) -> list[list[int]]:
    """Runs of indices of which the longest text is at most about twice the shortest: padding stays small."""
    groups: list[list[int]] = []
    shortest = 0
    for index in sorted(range(len(texts)), key=lambda index: len(texts[index])):
        length = len(texts[index])
        if not groups or length > 2 * shortest + _NEAR:
            groups.append([])
            shortest = length
        groups[-1].append(index)
    return groups
