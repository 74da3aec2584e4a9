"""The best few candidates as one: a model whose logits are the mean of theirs, each divided by its temperature.

The mean of the probabilities themselves is doubtful even where all members are calibrated (Ranjan and Gneiting 2010).
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.manifest import EncoderSettings, parse
from tasks.base.manifests import Candidate, Dataset
from tasks.base.settings import Budget, TrainSettings
from tasks.candidates.cross_validation import HELD_OUT, judged
from tasks.candidates.plan import MOST_MEMBERS
from tasks.candidates.select import comparable, held_out
from tasks.candidates.train import latency
from tasks.conversion.convert import load_keras
from tasks.kinds.registry import KINDS
from tasks.learning.backend import keras
from tasks.learning.candidate import VALIDATION_LOGITS, save
from tasks.learning.examples import rows_of
from tasks.learning.job import Job
from tasks.learning.training import Trained

NAME = "ensemble"


def members(candidates: Sequence[Candidate], dataset: Dataset, train: TrainSettings, budget: Budget) -> list[Candidate]:
    """Those whose average scores best on the held-out rows, at most `MOST_MEMBERS`; fewer than two when none helps.

    Greedy from the best one on (Caruana et al. 2004), among those that answer within the budget together.
    """
    kind = KINDS[dataset.task]
    metric = train.metric or kind.metric
    ranked = sorted(comparable(list(candidates), dataset, metric), key=lambda one: -one.score)
    judged_by = [(one, rows) for one in ranked if (rows := held_out(one, dataset)) is not None]
    ready = [(one, logits / kind.temperature(logits, targets), targets) for one, (logits, targets) in judged_by]
    chosen: list[Candidate] = []
    scaled: list[np.ndarray] = []
    best = -1.0
    while len(chosen) < MOST_MEMBERS:
        tried = []
        for one, own, targets in ready:
            if one in chosen or not _affordable([*chosen, one], budget):
                continue
            score = kind.metrics(np.mean([*scaled, own], axis=0), targets)[metric]
            tried.append((score, one, own))
        score, one, own = max(tried, key=lambda entry: entry[0], default=(-1.0, None, None))
        if one is None or own is None or score <= best:
            break
        best = score
        chosen.append(one)
        scaled.append(own)
    return chosen


def ensemble(job: Job, chosen: Sequence[Candidate]) -> Candidate:
    """One Keras model of the members, over all their inputs."""
    started = time.perf_counter()
    dataset, kind = job.dataset, KINDS[job.dataset.task]
    temperatures = [_temperature(one, dataset) for one in chosen]
    encoders, files = _encoders(chosen)
    validation = [np.load(one.folder / VALIDATION_LOGITS) for one in chosen]
    logits = _scaled_mean(validation, temperatures)
    targets = rows_of(dataset, "validation")[1]
    trained = Trained(
        model=_joined(chosen, temperatures),
        logits=logits,
        targets=targets,
        metrics=kind.metrics(logits, targets),
        curves={},
        seconds=time.perf_counter() - started,
    )
    made = save(job, NAME, trained, files, encoders, {"members": [one.name for one in chosen]})
    folds = min(one.folds for one in chosen)
    if folds:
        folded = [np.load(one.folder / HELD_OUT) for one in chosen]
        made = judged(made, _scaled_mean(folded, temperatures), job, folds)
    return made.model_copy(update={"latency_ms": latency(made, dataset)})


def _affordable(chosen: Sequence[Candidate], budget: Budget) -> bool:
    taken = sum(one.latency_ms or 0.0 for one in chosen)
    megabytes = sum(one.size_bytes for one in chosen) / 1e6
    return taken <= (budget.max_latency_ms or np.inf) and megabytes <= (budget.max_size_mb or np.inf)


def _temperature(candidate: Candidate, dataset: Dataset) -> float:
    rows = held_out(candidate, dataset)
    if rows is None:
        raise ValueError(f"{candidate.name} left no logits of held-out rows")
    return KINDS[dataset.task].temperature(*rows)


def _scaled_mean(logits: Sequence[np.ndarray], temperatures: Sequence[float]) -> np.ndarray:
    return np.mean([each / temperature for each, temperature in zip(logits, temperatures, strict=True)], axis=0)


def _encoders(chosen: Sequence[Candidate]) -> tuple[list[EncoderSettings], dict[str, bytes]]:
    """Every encoder of the members once; their names are unique by content."""
    encoders: dict[str, EncoderSettings] = {}
    files: dict[str, bytes] = {}
    for one in chosen:
        for settings in parse((one.folder / MANIFEST).read_bytes()).encoders:
            encoders[settings.name] = settings
            files[settings.file] = (one.folder / settings.file).read_bytes()
    return list(encoders.values()), files


def _joined(chosen: Sequence[Candidate], temperatures: Sequence[float]) -> keras.Model:
    inputs: dict[str, Any] = {}
    scaled = []
    for one, temperature in zip(chosen, temperatures, strict=True):
        loaded = load_keras(one.folder)
        # Keras names operations by their kind, "stack" among them, and refuses a member that is called so too.
        model: Any = keras.Model(loaded.inputs, loaded.outputs[0], name=f"member_{one.name}")
        for entry in model.inputs:
            if entry.name not in inputs:
                inputs[entry.name] = keras.Input(entry.shape[1:], dtype=entry.dtype, name=entry.name)
        scaled.append(model({entry.name: inputs[entry.name] for entry in model.inputs}) * (1.0 / temperature))
    logits = keras.layers.Average(dtype="float32", name="logits")(scaled)
    return keras.Model(inputs, logits, name=NAME)
