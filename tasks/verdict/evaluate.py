"""Stage: the served variant on the untouched test set."""

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.decoding import Options
from bentos.text_classifier.manifest import dump
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.scope import ScopeRule
from tasks.base.errors import InputError
from tasks.base.machine import open_model
from tasks.base.manifests import Candidate, Dataset, Evaluation, Variant, content_of
from tasks.base.optional import NoResult, attempt
from tasks.base.progress import Progress, saying, silent, within
from tasks.candidates.select import held_out
from tasks.data.rows import Rows
from tasks.kinds.figures import Outcome, measure
from tasks.kinds.intervals import proportion
from tasks.kinds.registry import KINDS, outcome_of
from tasks.learning.examples import read_part, rows_of
from tasks.verdict.calibrate import calibrate, calibration_of
from tasks.verdict.label_errors import MOST_ROWS, cross_validated_scores, rank_label_errors
from tasks.verdict.slices import slices

_SPLIT_COLUMNS = {"text", "label", "target", "weight", "group", "source", "line"}


def evaluate(
    picked: Variant,
    candidate: Candidate,
    dataset: Dataset,
    seed: int,
    folder: Path,
    judged: tuple[Candidate, Dataset] | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Calibrates the variant that will be served and judges it on the test set.

    `folder` receives `model`, the calibrated model folder, and `predictions.parquet`, one row a test row.

    Args:
        judged: the candidate as it was compared with others, and by which rows; those are calibrated on as well when
            it was trained again with them, or judged by folds: few are left that the candidate itself did not see.

    Raises:
        InputError: the test set has no rows.
    """
    table = pq.read_table(dataset.test)
    if not table.num_rows:
        raise InputError("the test set has no rows: give more data, or a test source with known classes")
    picked_model, texts = open_model(picked.folder), Rows(dataset.validation).texts()
    told = saying(within(progress, 0.0, 0.3), "answering the validation set")
    logits = picked_model.logits(texts, told=told)
    served, fitted = calibrate(picked.folder, dataset, folder / "model", logits, _alike(candidate, judged))
    model = open_model(served)
    validation_scores = model.scores(logits)
    texts, targets = rows_of(dataset, "test", model.encoders)
    logits = model.logits(texts, told=saying(within(progress, 0.3, 0.7), "answering the test set"))
    uncalibrated = msgspec.structs.replace(model.manifest, temperature=1.0, exponent=1.0)
    result = outcome_of(logits, targets, model.manifest)
    kind = KINDS[dataset.task]
    measured = measure(result, seed, kind.figures)
    predictions = folder / "predictions.parquet"
    _write_predictions(predictions, table, answers(model, logits, texts), result)
    progress(0.7, "looking for labels that may be wrong")
    manifest = msgspec.structs.replace(
        model.manifest,
        metrics={name: figure.model_dump() for name, figure in measured.figures.items()},
        lineage=model.manifest.lineage | {"data": dataset.content, "model": candidate.content},
    )
    (served / MANIFEST).write_bytes(dump(manifest))
    left_out: dict[str, str] = {}
    extra = table.select([name for name in table.column_names if name not in _SPLIT_COLUMNS])
    return Evaluation(
        folder=served,
        metrics=measured.figures,
        per_class=dict(zip(dataset.labels, measured.per_label, strict=True)),
        confusion=_confusion(result) if kind.exclusive else [],
        calibration=fitted
        | {"before": calibration_of(outcome_of(logits, targets, uncalibrated)), "after": calibration_of(result)},
        slices=attempt("accuracy by kind of text", lambda: slices(texts, result.exact, extra), [], left_out),
        predictions=predictions,
        label_errors=_label_errors(validation_scores, dataset, seed, left_out) if kind.pooled else [],
        scope=attempt("texts out of scope", lambda: _scope(model, logits, texts), {}, left_out),
        left_out=left_out,
        majority=_majority(table),
        content=content_of(served, predictions),
    )


def _alike(candidate: Candidate, judged: tuple[Candidate, Dataset] | None) -> tuple[np.ndarray, np.ndarray] | None:
    if judged is None or not KINDS[judged[1].task].pooled:
        return None
    before, dataset = judged
    return held_out(before, dataset) if before.folds or before.content != candidate.content else None


def answers(model: TextModel, logits: np.ndarray, texts: list[str]) -> list[tuple[Any, float]]:
    """The model's whole answer for each text, in the form of a data set's label, and its score."""
    everything = Options(top_k=len(model.manifest.labels))
    return list(map(KINDS[model.manifest.task].answer, model.decode(logits, everything, texts)))


def _write_predictions(path: Path, table: pa.Table, found: list[tuple[Any, float]], result: Outcome) -> None:
    """text, label, predicted, score and correct of each test row; written whole or not at all."""
    unfinished = path.with_name(path.name + ".part")
    pq.write_table(
        pa.table(
            {
                "text": table["text"],
                "label": table["label"],
                "predicted": pa.array([label for label, _ in found], table.schema.field("label").type),
                "score": np.array([score for _, score in found], np.float32),
                "correct": result.exact,
            }
        ),
        unfinished,
    )
    unfinished.replace(path)


def _confusion(result: Outcome) -> list[list[int]]:
    """Rows of each true label (down) that were given each label (across)."""
    return (result.actual.T @ result.predicted).toarray().astype(int).tolist()


def _label_errors(scores: np.ndarray, dataset: Dataset, seed: int, left_out: dict[str, str]) -> list[dict[str, Any]]:
    """Doubtful labels: validation rows by the served model's scores, training rows by a quick cross-validated model."""

    def validation() -> list[dict[str, Any]]:
        return rank_label_errors(*rows_of(dataset, "validation"), scores, dataset.labels, "validation")

    def training() -> list[dict[str, Any]]:
        texts, targets, _ = next(read_part(dataset, "train", MOST_ROWS))
        quick = cross_validated_scores(texts, targets, len(dataset.labels), seed)
        return rank_label_errors(texts, targets, quick, dataset.labels, "training")

    nothing: list[dict[str, Any]] = []
    return attempt("wrong labels of validation rows", validation, nothing, left_out) + attempt(
        "wrong labels of training rows", training, nothing, left_out
    )


def _scope(model: TextModel, logits: np.ndarray, texts: list[str]) -> dict[str, Any]:
    """How often the scope rule turns away texts that are known to be in scope."""
    scope = model.manifest.scope
    if scope is None:
        raise NoResult("the rule would hold words of the training texts, which the privacy budget does not cover")
    outside = len(texts) - int(ScopeRule(scope).holds(logits, texts).sum())
    return {
        "method": scope.method,
        "threshold": scope.threshold,
        "stated_false_alarm_rate": scope.false_alarm_rate,
        "test_false_alarm_rate": proportion(outside, len(texts)).model_dump(),
    }


def _majority(table: pa.Table) -> float:
    """Accuracy on the test set of the best answer that is always the same."""
    return Counter(map(str, table["label"].to_pylist())).most_common(1)[0][1] / table.num_rows
