"""One label a text."""

import numpy as np
from scipy.sparse import csr_array

from bentos.text_classifier.manifest import Manifest
from tasks.kinds import scaling
from tasks.kinds.figures import Counts, Outcome, macro_f1
from tasks.kinds.kind import LEAST, Feedback, Kind, Labels


def metrics(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    predicted = logits.argmax(axis=-1)
    right = predicted == targets
    labels = logits.shape[-1]
    counts = Counts(
        *(np.bincount(each, minlength=labels).astype(float) for each in (targets[right], predicted, targets))
    )
    return {"accuracy": float(right.mean()), "macro_f1": float(macro_f1(counts))}


def outcome(probabilities: np.ndarray, targets: np.ndarray, manifest: Manifest) -> Outcome:
    """The score that counts for calibration is the answer's own.

    `probabilities`: float32 [rows, labels]; `targets`: int [rows].
    """
    rows, labels = probabilities.shape
    answers = probabilities.argmax(axis=1)
    exact = answers == targets
    index = np.arange(rows)
    return Outcome(
        hits=_one_hot(index[exact], answers[exact], rows, labels),
        predicted=_one_hot(index, answers, rows, labels),
        actual=_one_hot(index, targets, rows, labels),
        exact=exact,
        confidence=probabilities[index, answers],
        correct=exact,
        row=index,
        loss=-np.log(np.maximum(probabilities[index, targets].astype(np.float64), LEAST)),
        scores=probabilities,
        truths=np.arange(labels) == targets[:, None],
    )


def _one_hot(index: np.ndarray, column: np.ndarray, rows: int, labels: int) -> csr_array:
    return csr_array((np.ones(len(index), np.float32), (index, column)), shape=(rows, labels))


KIND = Kind(
    labels=Labels(
        typed="CASE WHEN form = 'list' THEN json_extract_string(label, '$[0]') ELSE label END",
        misfit="CASE WHEN form = 'spans' THEN 'the label is a list of spans, where one name is expected' "
        "WHEN form = 'list' AND json_array_length(CASE WHEN form = 'list' THEN label END) > 1 "
        "THEN 'the label is a list of several names, where one is expected' END",
        missing="label IS NULL OR trim(label, ' \t\r\n\u00a0\u3000') = ''",
        classes="[label]",
        canonical="label",
        stratum="label",
        target="CAST(enum_code(TRY_CAST(label AS class)) AS INTEGER)",
        known="TRY_CAST(label AS class) IS NOT NULL",
        kept="label",
        found_by="names",
        feedback=Feedback("names[1]", "CASE WHEN len(names) <> 1 THEN 'not one label' END"),
    ),
    loss="softmax",
    compared_by=("accuracy", "macro_f1"),
    metrics=metrics,
    outcome=outcome,
    figures=("macro_f1", "weighted_f1", "macro_precision", "macro_recall", "matthews"),
    temperature=scaling.softmax_temperature,
    power=scaling.softmax_power,
    intended="one of {labels} labels. It knows these labels only: a text about anything else still gets one of them",
)
