"""A kind of task that only the suite knows: a text has two labels in order, written `first > second`.

It shows all that a new kind needs: this file's `KIND` among `tasks/kinds`, and `DECODER` among the bento's.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array

from bentos.text_classifier.decoding import Decoder, LabelScore, Options, Prediction, softmax
from bentos.text_classifier.manifest import Manifest
from bentos.text_classifier.model import TextModel
from tasks.kinds.figures import Counts, Outcome, macro_f1
from tasks.kinds.kind import Kind, Labels
from tasks.kinds.scaling import softmax_temperature

SHARES = (0.75, 0.25)
"""Of the first and the second label in a target."""


def _places(scores: np.ndarray) -> np.ndarray:
    """The two best labels of each row, in order: int [rows, 2]."""
    return np.argsort(-scores, axis=-1, kind="stable")[:, :2]


def _held(places: np.ndarray, labels: int) -> np.ndarray:
    return np.eye(labels, dtype=np.float32)[places].max(axis=1)


def metrics(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    predicted, actual = _places(logits), _places(targets)
    held = [_held(places, logits.shape[1]) for places in (predicted, actual)]
    counts = Counts(*(each.sum(axis=0) for each in (held[0] * held[1], *held)))
    return {"accuracy": float((predicted == actual).all(axis=1).mean()), "macro_f1": float(macro_f1(counts))}


def outcome(probabilities: np.ndarray, targets: np.ndarray, manifest: Manifest) -> Outcome:
    predicted, actual = _places(probabilities), _places(targets)
    answered, truths = (_held(places, probabilities.shape[1]) for places in (predicted, actual))
    return Outcome(
        hits=csr_array(answered * truths),
        predicted=csr_array(answered),
        actual=csr_array(truths),
        exact=(predicted == actual).all(axis=1),
        confidence=probabilities.max(axis=1),
        correct=predicted[:, 0] == actual[:, 0],
        row=np.arange(len(targets)),
    )


KIND = Kind(
    labels=Labels(
        typed="list_transform(string_split(label, '>'), lambda name: trim(name))",
        misfit="CASE WHEN form IS NOT NULL OR len(string_split(label, '>')) <> 2 "
        "THEN 'the label is not two names with > between them' END",
        missing="label IS NULL",
        classes="label",
        canonical="array_to_string(label, ' > ')",
        stratum="label[1]",
        target=f"list_transform(getvariable('labels'), lambda name: CAST(CASE list_position(label, name) "
        f"WHEN 1 THEN {SHARES[0]} WHEN 2 THEN {SHARES[1]} ELSE 0 END AS FLOAT))",
        known="list_has_all(getvariable('labels'), label)",
        kept="label",
    ),
    loss="softmax",
    compared_by=("accuracy", "macro_f1"),
    metrics=metrics,
    outcome=outcome,
    figures=("macro_f1", "weighted_f1"),
    temperature=lambda logits, targets: softmax_temperature(logits, targets.argmax(axis=1)),
    names=list,
    answer=lambda one: ([label.label for label in one.labels], one.score or 0.0),
    exclusive=False,
    intended="two of {labels} labels, in order",
)


def _decode(model: TextModel, logits: np.ndarray, options: Options, texts: Sequence[str]) -> list[Prediction]:
    scores, names = softmax(logits, model.manifest), model.manifest.labels
    predictions = []
    for row, places in zip(scores, _places(scores).tolist(), strict=True):
        ranked = [LabelScore(names[place], float(row[place])) for place in places]
        predictions.append(Prediction(ranked[0].label, ranked[0].score, ranked))
    return predictions


DECODER = Decoder(softmax, _decode, answer="labels")
