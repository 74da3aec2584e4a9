"""Any number of labels a text."""

import numpy as np
from scipy.sparse import csr_array

from bentos.text_classifier.manifest import Manifest
from tasks.kinds import scaling
from tasks.kinds.figures import Counts, Outcome, macro_f1, micro_f1
from tasks.kinds.kind import LEAST, RAREST, Feedback, Kind, Labels


def metrics(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    predicted, actual = logits > 0.0, targets > 0
    counts = Counts(*(each.sum(axis=0).astype(float) for each in (predicted & actual, predicted, actual)))
    return {
        "accuracy": float((predicted == actual).all(axis=1).mean()),
        "macro_f1": float(macro_f1(counts)),
        "micro_f1": float(micro_f1(counts)),
    }


def outcome(probabilities: np.ndarray, targets: np.ndarray, manifest: Manifest) -> Outcome:
    """Every label's score counts for calibration.

    `probabilities`: float32 [rows, labels]; `targets`: 0 or 1 [rows, labels]. The loss is the mean
    over labels of the binary one.
    """
    rows, labels = probabilities.shape
    truths = targets.astype(bool)
    answers = probabilities >= np.asarray(manifest.thresholds or [0.5] * labels, np.float32)
    certain = np.clip(probabilities.astype(np.float64), LEAST, 1.0 - LEAST)
    return Outcome(
        hits=csr_array((answers & truths).astype(np.float32)),
        predicted=csr_array(answers.astype(np.float32)),
        actual=csr_array(truths.astype(np.float32)),
        exact=(answers == truths).all(axis=1),
        confidence=probabilities.ravel(),
        correct=truths.ravel(),
        row=np.repeat(np.arange(rows), labels),
        loss=-np.where(truths, np.log(certain), np.log(1.0 - certain)).mean(axis=1),
        scores=probabilities,
        truths=truths,
    )


KIND = Kind(
    labels=Labels(
        typed="""CASE WHEN form = 'list' THEN list_sort(list_distinct(CAST(CAST(label AS JSON) AS VARCHAR[])))
            WHEN label IS NOT NULL THEN list_sort(list_distinct(list_filter(
                list_transform(CASE WHEN $separator = '' THEN [label] ELSE string_split(label, $separator) END,
                    lambda name: trim(name)), lambda name: name <> ''))) END""",
        misfit="CASE WHEN form = 'spans' THEN 'the label is a list of spans, where names are expected' END",
        missing="label IS NULL",
        classes="label",
        canonical="CAST(to_json(label) AS VARCHAR)",
        stratum=RAREST.format(classes="label"),
        target="list_transform(getvariable('labels'), lambda name: CAST(list_contains(label, name) AS TINYINT))",
        known="true",
        kept="list_filter(label, lambda name: list_contains(getvariable('labels'), name))",
        found_by="list",
        separable=True,
        feedback=Feedback("list_sort(list_distinct(names))"),
    ),
    loss="sigmoid",
    compared_by=("micro_f1", "accuracy", "macro_f1"),
    metrics=metrics,
    outcome=outcome,
    figures=("micro_f1", "macro_f1", "weighted_f1"),
    temperature=scaling.sigmoid_temperature,
    thresholds=scaling.f1_thresholds,
    counts=lambda targets, weights, outputs: weights @ targets,
    names=list,
    answer=lambda one: (sorted(label.label for label in one.labels), one.score or 0.0),
    exclusive=False,
    intended="any number of {labels} labels. It knows these labels only: a text about anything else may get some too",
)
