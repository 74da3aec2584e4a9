"""What a model's answers came to, row by row: one function a kind of task, all giving an `Outcome`."""

import numpy as np
from scipy.sparse import csr_array

from bentos.text_classifier.manifest import Manifest
from tasks.kinds.figures import Outcome
from tasks.kinds.tagging import by_row_and_class, judge, known_tags

_LEAST = 1e-12
"""Of a probability inside a logarithm."""


def single(probabilities: np.ndarray, targets: np.ndarray, manifest: Manifest) -> Outcome:
    """Of one label a text: the score that counts for calibration is the answer's own.

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
        loss=-np.log(np.maximum(probabilities[index, targets].astype(np.float64), _LEAST)),
        scores=probabilities,
        truths=np.arange(labels) == targets[:, None],
    )


def multi(probabilities: np.ndarray, targets: np.ndarray, manifest: Manifest) -> Outcome:
    """Of any number of labels a text: every label's score counts for calibration.

    `probabilities`: float32 [rows, labels]; `targets`: 0 or 1 [rows, labels]. The loss is the mean
    over labels of the binary one.
    """
    rows, labels = probabilities.shape
    truths = targets.astype(bool)
    answers = probabilities >= np.asarray(manifest.thresholds or [0.5] * labels, np.float32)
    certain = np.clip(probabilities.astype(np.float64), _LEAST, 1.0 - _LEAST)
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


def tagging(probabilities: np.ndarray, codes: np.ndarray, manifest: Manifest) -> Outcome:
    """Of entities in a text, each right when class, beginning and end are: the score of every answered one counts
    for calibration. The loss is the mean over the text's tokens.

    `probabilities`: float32 [rows, positions, tags]; `codes`: int [rows, positions or more] of `tagging.align`.
    """
    found = judge(probabilities, codes)
    rows, classes = len(probabilities), probabilities.shape[-1] // 2
    hits = by_row_and_class(found.predicted, found.hit, rows, classes)
    predicted = by_row_and_class(found.predicted, slice(None), rows, classes)
    actual = by_row_and_class(found.actual, slice(None), rows, classes)
    certainty = probabilities.max(axis=-1)
    row, first, last, _ = found.predicted
    scores = [certainty[place].min() for place in map(_span, row.tolist(), first.tolist(), last.tolist())]
    known, truth = known_tags(probabilities, codes)
    given = np.take_along_axis(probabilities, truth[..., None], axis=-1)[..., 0].astype(np.float64)
    surprise = np.where(known, -np.log(np.maximum(given, _LEAST)), 0.0)
    return Outcome(
        hits=csr_array(hits.astype(np.float32)),
        predicted=csr_array(predicted.astype(np.float32)),
        actual=csr_array(actual.astype(np.float32)),
        exact=(hits == predicted).all(axis=1) & (hits == actual).all(axis=1),
        confidence=np.array(scores, np.float32),
        correct=found.hit,
        row=row,
        loss=surprise.sum(axis=1) / np.maximum(known.sum(axis=1), 1),
    )


def _span(row: int, first: int, last: int) -> tuple[int, slice]:
    return row, slice(first, last + 1)


def _one_hot(index: np.ndarray, column: np.ndarray, rows: int, labels: int) -> csr_array:
    return csr_array((np.ones(len(index), np.float32), (index, column)), shape=(rows, labels))
