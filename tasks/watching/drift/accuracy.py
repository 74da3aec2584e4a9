"""How often the live answers are right: estimated without labels, and counted where feedback tells."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from bentos.text_classifier.feedback import FeedbackRecord
from tasks.base.manifests import Figure
from tasks.kinds.intervals import proportion

_Z = 1.959964


def accepted_accuracy(reference: pa.Table) -> Figure | None:
    """The share of right answers on the reference rows; None where an answer is more than one label."""
    correct = reference.column("correct")
    return None if correct.null_count else proportion(int(correct.to_numpy().sum()), len(correct))


def estimated_accuracy(reference: pa.Table, live: pa.Table) -> Figure | None:
    """The share of right answers among the live rows, without their labels.

    The mean calibrated score of the live rows, put right by what the mean score of the reference rows was off
    (Guillory et al. 2021, difference of confidences), with a normal 95 % interval over both samples. It
    assumes that a score means the same on live rows as on the reference's: true when the mix of easy and
    hard texts changes, too high for texts of a kind that the model never saw and is sure of all the same.
    """
    correct, scores, live_scores = reference.column("correct"), reference.column("score"), live.column("score")
    if correct.null_count or scores.null_count or live_scores.null_count or not len(live_scores):
        return None
    off = correct.to_numpy().astype(float) - scores.to_numpy()
    sure = live_scores.to_numpy()
    value = float(sure.mean() + off.mean())
    spread = _Z * float(np.sqrt(sure.var() / len(sure) + off.var() / len(off)))
    low, middle, high = np.clip([value - spread, value, value + spread], 0.0, 1.0).tolist()
    return Figure(value=middle, low=low, high=high)


def feedback_accuracy(feedback: Sequence[FeedbackRecord], answers: dict[str, set[str]]) -> Figure | None:
    """The share of answers that feedback confirms, of those whose answer is known by `answers` (labels by id).

    Of several labels all must be right.

    The last word on an id counts. People tell of errors more than of right answers, so this is a figure to
    watch over time and against the estimate, not an accuracy on all traffic.
    """
    told = {
        record.id: {record.label} if isinstance(record.label, str) else set(record.label)
        for record in feedback
        if record.id in answers
    }
    if not told:
        return None
    return proportion(sum(answers[id] == labels for id, labels in told.items()), len(told))
