"""k-fold cross-validation of one candidate, for data too small to choose by a validation part."""

import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.model_selection import StratifiedGroupKFold

from tasks.base.manifests import Candidate, Dataset, content_of
from tasks.base.progress import within
from tasks.data.rows import Rows
from tasks.kinds.registry import KINDS, standard_error
from tasks.learning.candidate import VALIDATION_LOGITS
from tasks.learning.examples import rows_of
from tasks.learning.job import Job

FOLDS = "folds"
HELD_OUT = "held_out.npy"
"""In a candidate's folder: logits of every row of training and validation part, in this order, each by the model of a
fold that was not trained on it; NaN for the rows of folds that were left out for lack of time."""


def cross_validate(job: Job, fit: Callable[[Job], Candidate], folds: int) -> np.ndarray:
    """Logits of the rows of the first `folds` folds by models that were not trained on them; see `HELD_OUT`.

    A finished fold leaves its logits in the job's folder, so that an interrupted one goes on from there.
    """
    places = fold_rows(job.dataset, _fold_seed(job))[:folds]
    logits = np.full((job.dataset.rows["train"] + job.dataset.rows["validation"], len(job.dataset.labels)), np.nan)
    for number, place in enumerate(places):
        # The last part is the training with all rows.
        start, end = number / (folds + 1), (number + 1) / (folds + 1)
        part = replace(job, progress=within(job.progress, start, end, f"fold {number + 1} of {folds}, "))
        logits[place] = np.load(held_out_logits(part, fit, number))
    shutil.rmtree(job.folder / FOLDS)
    return logits.astype(np.float32)


def held_out_logits(job: Job, fit: Callable[[Job], Candidate], number: int) -> Path:
    """Logits of the rows of one fold, counted from 0, by a model of the others; left in the job's folder."""
    folder = job.folder / FOLDS
    finished = folder / f"{number}.npy"
    if not finished.exists():
        trained = folder / f"{number}_model"
        trained.mkdir(parents=True, exist_ok=True)
        dataset = fold_dataset(job.dataset, number, folder / str(number), _fold_seed(job))
        made = fit(replace(job, dataset=dataset, folder=trained))
        (made.folder / VALIDATION_LOGITS).replace(finished)
        shutil.rmtree(trained)
    return finished


def _fold_seed(job: Job) -> int:
    return job.seed if job.fold_seed is None else job.fold_seed


def judged(candidate: Candidate, logits: np.ndarray, job: Job, folds: int) -> Candidate:
    """The candidate with score, error and metrics of the held-out rows, whose logits stand in its folder."""
    np.save(candidate.folder / HELD_OUT, logits)
    kind = KINDS[job.dataset.task]
    metric = job.train.metric or kind.metric
    known = ~np.isnan(logits[:, 0])
    logits, targets = logits[known], pooled_targets(job.dataset)[known]
    metrics = kind.metrics(logits, targets)
    error = standard_error(metric, logits, targets, kind, job.seed)
    return candidate.model_copy(update={"score": metrics[metric], "error": error, "metrics": metrics, "folds": folds})


def pooled_targets(dataset: Dataset) -> np.ndarray:
    """Targets of the training and the validation part, in this order."""
    return np.concatenate([rows_of(dataset, part)[1] for part in ("train", "validation")])


def fold_dataset(dataset: Dataset, number: int, folder: Path, seed: int) -> Dataset:
    """The data set of one fold, in `folder`: its validation part is the fold's rows, its training part all others.

    Every row of the training and validation part stands in one fold; the test part is the same in all.
    """
    table = _pool(dataset)
    held = fold_rows(dataset, seed)[number]
    folder.mkdir(parents=True, exist_ok=True)
    kept = np.setdiff1d(np.arange(len(table)), held)
    parts = {
        "train": (table.take(kept), folder / "train.parquet"),
        "validation": (table.take(held), folder / "validation.parquet"),
    }
    return with_parts(dataset, parts)


def fold_rows(dataset: Dataset, seed: int) -> list[np.ndarray]:
    """The rows of each fold, by their place in training and validation part: stratified, no group is parted."""
    table = _pool(dataset)
    targets = pooled_targets(dataset)
    if targets.ndim > 1:
        # Combinations of labels are the strata, as far as each is frequent enough to be divided.
        targets = np.unique(targets, axis=0, return_inverse=True)[1].ravel()
    groups = table["group"].to_numpy() if "group" in table.column_names else np.arange(len(table))
    folds = max(min(dataset.folds, len(np.unique(groups))), 2)
    counts = np.bincount(targets)
    targets = np.where(counts[targets] >= folds, targets, len(counts))
    with warnings.catch_warnings():
        # A class with fewer rows than folds cannot stand in each; its rows are dealt out together with others.
        warnings.simplefilter("ignore", UserWarning)
        split = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(targets, targets, groups)
        return [held for _, held in split]


def _pool(dataset: Dataset) -> pa.Table:
    parts = [pq.read_table(part) for part in (dataset.train, dataset.validation)]
    return pa.concat_tables(parts, promote_options="default")


def with_parts(dataset: Dataset, parts: dict[str, tuple[pa.Table, Path]]) -> Dataset:
    """The data set with these rows, written to these files, for some of its parts."""
    for table, path in parts.values():
        unfinished = path.with_name(f"{path.name}.part")
        pq.write_table(table, unfinished)
        unfinished.replace(path)
    return with_files(dataset, {part: path for part, (_, path) in parts.items()})


def with_files(dataset: Dataset, paths: dict[str, Path]) -> Dataset:
    """The data set with these files for some of its parts."""
    rows = {part: len(Rows(path)) for part, path in paths.items()}
    changed = dataset.model_copy(update=paths | {"rows": dataset.rows | rows, "folds": 0})
    content = content_of(changed.train, changed.validation, changed.test, changed.labels, changed.max_length)
    return changed.model_copy(update={"content": content})
