"""Stage: make the served variant's scores mean what they say, on rows that it was not trained on."""

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.manifest import Manifest, dump
from tasks.base.machine import open_model
from tasks.base.manifests import Dataset
from tasks.data.rows import Rows
from tasks.kinds.calibration import Bins
from tasks.kinds.figures import Outcome
from tasks.kinds.registry import KINDS, outcome_of
from tasks.learning.examples import rows_of, training_texts
from tasks.verdict.scope import Parts, fit_scope

SCOPE_TEXTS = 200_000
"""Training texts that the scope rule remembers n-grams of."""
HELD_OUT_BY = ("origin", "time")
"""Extra columns by which texts are held out when the scope rule's threshold is set."""


def calibrate(
    folder: Path,
    dataset: Dataset,
    out: Path,
    logits: np.ndarray | None = None,
    alike: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Copies the model folder to `out` with temperature, exponent, thresholds and scope rule of its own.

    All are fitted on the logits of this very variant, so that what quantisation changed is included.

    Args:
        logits: of the validation set, when they are known.
        alike: further logits and targets to fit temperature and thresholds on, of rows that a model of the same
            structure and nearly the same rows was not trained on.

    Returns:
        `out`, and what was fitted: temperature, exponent, thresholds, rows, and the validation set's
        calibration before and after.
    """
    model = open_model(folder)
    kind = KINDS[dataset.task]
    texts, targets = rows_of(dataset, "validation", model.encoders)
    logits = model.logits(texts) if logits is None else logits
    held_out = [(logits, targets), *([alike] if alike else [])]
    fitted_on = np.concatenate([one[0] for one in held_out]), np.concatenate([one[1] for one in held_out])
    temperature, exponent = kind.power(*fitted_on) if kind.power else (kind.temperature(*fitted_on), 1.0)
    thresholds = kind.thresholds(*fitted_on, temperature) if kind.thresholds else None
    scope = None
    if model.manifest.privacy is None:
        # The rule knows the training texts' n-grams, which a privacy budget does not cover.
        seen = list(islice(training_texts(dataset), SCOPE_TEXTS))
        scope = fit_scope(model, seen, texts, parts=_parts(dataset, len(seen)))
    fitted = msgspec.structs.replace(
        model.manifest, temperature=temperature, exponent=exponent, thresholds=thresholds, scope=scope
    )
    write_folder(folder, out, fitted)
    before, after = (outcome_of(logits, targets, manifest) for manifest in (model.manifest, fitted))
    return out, {
        "temperature": temperature,
        "exponent": exponent,
        "thresholds": thresholds,
        "rows": len(fitted_on[0]),
        "validation": {"before": calibration_of(before), "after": calibration_of(after)},
    }


def _parts(dataset: Dataset, seen: int) -> Parts | None:
    """Origin or time of the first `seen` training texts and of the validation texts, where a column tells it."""
    sets = [Rows(dataset.train), Rows(dataset.validation)]
    for name in HELD_OUT_BY:
        if all(rows.has(name) for rows in sets):
            train, validation = (rows.column(name) for rows in sets)
            return train[:seen], validation
    return None


def calibration_of(of: Outcome) -> dict[str, Any]:
    """Calibration error and the bins of the reliability diagram."""
    return Bins.of(of.confidence, of.correct).summary()


def write_folder(source: Path, out: Path, manifest: Manifest) -> None:
    """The model folder `source` as `out` with another manifest; `out` appears only when it is complete."""
    unfinished = out.with_name(out.name + ".part")
    for stale in (unfinished, out):
        shutil.rmtree(stale, ignore_errors=True)
    shutil.copytree(source, unfinished)
    (unfinished / MANIFEST).write_bytes(dump(manifest))
    unfinished.rename(out)
