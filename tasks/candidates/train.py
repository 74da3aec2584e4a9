"""Stage: train one candidate."""

import statistics
import tempfile
import time
from pathlib import Path

from bentos.text_classifier.model import TextModel
from tasks.base.errors import InputError
from tasks.base.manifests import Candidate, Dataset
from tasks.candidates.cross_validation import cross_validate, held_out_logits, judged
from tasks.conversion.convert import export_graph
from tasks.learning.examples import read_part
from tasks.learning.job import Architecture, Job
from tasks.models.architectures import architectures

LATENCY_TEXTS = 50


def train(name: str, job: Job, folds: int = 0) -> Candidate:
    """Trains the architecture called `name` and measures what a text would cost where it is served.

    With `folds` it is judged by that many of the data set's folds instead of the validation part; with the job's
    `trials` its hyper-parameters are searched, of those that it names for it.

    Raises:
        InputError: no architecture has this name.
    """
    structure = _structure(name)
    held_out = cross_validate(job, structure.fit, folds) if folds else None
    if job.trials and structure.space:
        from tasks.candidates.search import search

        candidate = search(job, structure, job.trials)
    else:
        candidate = structure.fit(job)
    if held_out is not None:
        candidate = judged(candidate, held_out, job, folds)
    return candidate.model_copy(update={"latency_ms": latency(candidate, job.dataset)})


def train_fold(name: str, job: Job, number: int) -> None:
    """One fold of what `train` will do in the same folder, which then takes it as done."""
    held_out_logits(job, _structure(name).fit, number)


def train_trials(name: str, job: Job, seat: int) -> None:
    """Some of the trials of what `train` will do in the same folder, beside others in other seats."""
    from tasks.candidates.search import take_part

    take_part(job, _structure(name), job.trials, seat)


def _structure(name: str) -> Architecture:
    known = architectures()
    if name not in known:
        raise InputError(f"train.candidates: no model is called {name!r}; there are {', '.join(known)}")
    return known[name]


def latency(candidate: Candidate, dataset: Dataset) -> float:
    """Median milliseconds of one validation text on one thread, encoding included, in ONNX Runtime."""
    texts = next(read_part(dataset, "validation", LATENCY_TEXTS))[0]
    with tempfile.TemporaryDirectory() as folder:
        export_graph(candidate, Path(folder))
        model = TextModel.load(Path(folder))
        model.run(model.encode(texts[:1]))
        seconds = []
        for text in texts:
            started = time.perf_counter()
            model.run(model.encode([text]))
            seconds.append(time.perf_counter() - started)
    return 1000.0 * statistics.median(seconds)
