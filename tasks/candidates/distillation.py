"""A fast student of a slow teacher, trained on what the teacher makes of many more texts than have a label.

After Hinton, Vinyals and Dean (2015), with made-up texts after Tang et al. (2019): words left out, words of other texts
put in their place, runs of words alone; and beginnings of one text with ends of another.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bentos.text_classifier.model import TextModel
from bentos.text_classifier.text import fold
from tasks.base.machine import open_model
from tasks.base.manifests import Candidate, Dataset
from tasks.base.progress import within
from tasks.base.settings import Budget, OptimiseSettings
from tasks.candidates.cross_validation import with_files
from tasks.candidates.select import held_out
from tasks.candidates.train import latency
from tasks.conversion.convert import export_graph
from tasks.conversion.optimise import optimise
from tasks.data.rows import Rows
from tasks.kinds.registry import KINDS
from tasks.learning.job import Job
from tasks.models.architectures import architectures

NAME = "student"
STRUCTURES: dict[str, dict[str, Any]] = {"bag": {}, "cnn": {"epochs": 20, "batch_size": 64, "dropout": 0.2}}
"""Fast ones that may be taught, the better on the validation part is kept; and hyper-parameters of the teaching."""

COPIES = 10
"""Made-up texts for each training text, where the teacher has the time."""

CORES = 1.5
"""By how much more the teacher answers in batches on all cores than one text at a time on one."""

_CHUNK = 1024
_SCHEMA = pa.schema({"text": pa.string(), "target": pa.list_(pa.float32()), "weight": pa.float32()})


def student(
    job: Job,
    teacher: Candidate,
    seconds: float,
    optimised: OptimiseSettings = OptimiseSettings(),  # noqa: B008 (frozen)
    unlabelled: Sequence[str] = (),
) -> Candidate:
    """A fast model that imitates the teacher's probabilities on training, unlabelled and made-up texts.

    Args:
        seconds: about as long the teacher may answer.
        optimised: the teacher answers in the variant that would be served with these settings.
        unlabelled: further texts; those that stand in a part of the data set are left out.
    """
    texts = [*Rows(job.dataset.train).texts(), *_unknown(unlabelled, job.dataset)]
    with _answering(job, teacher, optimised) as (model, latency_ms):
        affordable = int(CORES * 1000.0 * seconds / latency_ms)
        made_up = min(COPIES * len(texts), max(affordable - len(texts), 0))
        texts = texts[:affordable] if affordable < len(texts) else texts + list(_made_up(texts, made_up, job.seed))
        dataset = taught(job, teacher, model, texts)
    pupils = []
    for number, (structure, hyper) in enumerate(STRUCTURES.items()):
        folder = job.folder / structure
        folder.mkdir(exist_ok=True)
        by_hand = job.train.hyper.get(structure, {})
        hyper = job.hyper | {name: value for name, value in hyper.items() if name not in by_hand}
        start, end = (0.4 + 0.6 * done / len(STRUCTURES) for done in (number, number + 1))
        progress = within(job.progress, start, end, f"{structure}, ")
        work = replace(job, dataset=dataset, teacher=teacher.folder, folder=folder, hyper=hyper, progress=progress)
        pupils.append(architectures()[structure].fit(work))
    made, *others = sorted(pupils, key=lambda one: -one.score)
    for other in others:
        shutil.rmtree(other.folder)
    dataset.train.unlink()
    settings = made.settings | {"structure": made.name, "teacher": teacher.name, "texts": len(texts)}
    return made.model_copy(update={"name": NAME, "settings": settings, "latency_ms": latency(made, job.dataset)})


@contextlib.contextmanager
def _answering(job: Job, teacher: Candidate, settings: OptimiseSettings) -> Iterator[tuple[TextModel, float]]:
    """The teacher in the variant that would be served on the CPU, and its milliseconds a text on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        export_graph(teacher, Path(folder) / "model")
        made = optimise(Path(folder) / "model", job.dataset, settings, Budget(), Path(folder) / "variants", gpu=False)
        yield open_model(made.picked.folder), made.picked.latency_ms["1"]


def taught(job: Job, teacher: Candidate, model: TextModel, texts: Sequence[str]) -> Dataset:
    """The data set with these texts for its training part, and for their targets the probabilities of `model`.

    Args:
        model: a variant of the teacher.
    """
    rows = held_out(teacher, job.dataset)
    temperature = KINDS[job.dataset.task].temperature(*rows) if rows else 1.0
    manifest = msgspec.structs.replace(model.manifest, temperature=temperature)
    path = job.folder / "taught.parquet"
    with pq.ParquetWriter(path, _SCHEMA) as file:
        for start in range(0, len(texts), _CHUNK):
            chunk = list(texts[start : start + _CHUNK])
            scores = model.decoder.scores(model.logits(chunk), manifest).astype(np.float32)
            table = {"text": chunk, "target": list(scores), "weight": np.ones(len(chunk), np.float32)}
            file.write_table(pa.table(table, schema=_SCHEMA))
            job.progress(0.4 * start / len(texts), f"{teacher.name} answers {len(texts):,} texts")
    return with_files(job.dataset, {"train": path})


def _unknown(texts: Sequence[str], dataset: Dataset) -> list[str]:
    """The texts that stand in no part of the data set."""
    if not texts:
        return []
    known = {fold(text) for part in ("train", "validation", "test") for text in Rows(getattr(dataset, part)).texts()}
    return [text for text in texts if fold(text) not in known]


def _made_up(texts: Sequence[str], count: int, seed: int) -> Iterator[str]:
    """Changed copies of the texts, in turn. Every other one is the beginning of a text with the end of another. Of the
    rest a tenth of the words is left out, a tenth replaced by words of other texts, and of a quarter only a run of one
    to five words is kept."""
    generator = np.random.default_rng(seed)
    split = [_units(text) for text in texts]
    alike = {between: [units for units, other in split if other == between] for between in (" ", "")}
    everything = np.array([unit for units, _ in split for unit in units], dtype=object)
    for number in range(count if len(everything) else 0):
        units, between = split[number // 2 % len(split)]
        if number % 2:
            other = alike[between][generator.integers(len(alike[between]))]
            changed = units[: generator.integers(len(units) + 1)] + other[generator.integers(len(other) + 1) :]
        else:
            changed = _reworded(units, everything, generator)
        yield between.join(changed or units)


def _reworded(units: list[str], everything: np.ndarray, generator: np.random.Generator) -> list[str]:
    chances = generator.random(len(units))
    changed = [
        everything[generator.integers(len(everything))] if chance < 0.1 else unit
        for unit, chance in zip(units, chances.tolist(), strict=True)
        if chance < 0.9
    ]
    if len(changed) > 1 and generator.random() < 0.25:
        length = int(generator.integers(1, 6))
        start = int(generator.integers(max(len(changed) - length, 0) + 1))
        changed = changed[start : start + length]
    return changed


def _units(text: str) -> tuple[list[str], str]:
    """The words of a text and what stands between them; characters where no space does."""
    words = text.split()
    return (words, " ") if len(words) > 1 or len(text) < 4 else (list(text), "")
