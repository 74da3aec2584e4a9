"""A trained model's folder: the file formats that select, convert and serve read."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.manifest import EncoderSettings, Manifest, Privacy, dump
from tasks.base.manifests import Candidate, content_of
from tasks.kinds.registry import KINDS, standard_error
from tasks.learning.job import Job

if TYPE_CHECKING:
    # It brings TensorFlow, which who reads a candidate's folder need not wait for.
    from tasks.learning.training import Trained

WEIGHTS = "model.keras"
VALIDATION_LOGITS = "validation.npy"
VALIDATION_TARGETS = "validation_targets.npy"
"""Beside them where the targets are those of the positions of the model's own tokeniser."""


def save(
    job: Job,
    name: str,
    trained: "Trained",
    files: Mapping[str, bytes],
    encoders: Sequence[EncoderSettings],
    hyper: Mapping[str, Any],
    privacy: Privacy | None = None,
) -> Candidate:
    """Writes the candidate's folder and describes it.

    Args:
        files: the encoders' files by name.
        encoders: the encoders' settings in the order of the model's inputs.
        hyper: what the model was made with, for the table of candidates.
        privacy: what its training kept to.
    """
    folder = trained.folder or job.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    trained.model.save(folder / WEIGHTS)
    np.save(folder / VALIDATION_LOGITS, trained.logits.astype(np.float32))
    if not KINDS[job.dataset.task].pooled:
        np.save(folder / VALIDATION_TARGETS, trained.targets)
    manifest = Manifest(
        task=job.dataset.task,
        architecture=name,
        labels=KINDS[job.dataset.task].outputs(job.dataset.labels),
        encoders=list(encoders),
        privacy=privacy,
    )
    # A folder without its manifest is not taken for a model, so it comes last and at once.
    unfinished = folder / f"{MANIFEST}.part"
    unfinished.write_bytes(dump(manifest))
    unfinished.rename(folder / MANIFEST)
    kind = KINDS[job.dataset.task]
    metric = job.train.metric or kind.metric
    written = [WEIGHTS, MANIFEST, *files]
    return Candidate(
        name=name,
        folder=folder,
        score=trained.metrics[metric],
        error=standard_error(metric, trained.logits, trained.targets, kind, job.seed),
        metrics=trained.metrics,
        seconds=trained.seconds,
        parameters=trained.model.count_params(),
        size_bytes=sum((folder / file).stat().st_size for file in written),
        settings=dict(hyper),
        curves=trained.curves,
        content=content_of(
            *(folder / file for file in [MANIFEST, *files]),
            *((array.dtype.name, array.shape, array.tobytes()) for array in trained.model.get_weights()),
        ),
    )
