"""Spans as codes of positions, and the figures of tagged texts."""

import numpy as np
import pytest

from bentos.text_classifier.encoding import TokenEncoder
from bentos.text_classifier.manifest import Manifest
from bentos.text_classifier.tagging import tag_names
from tasks.kinds.figures import measure
from tasks.kinds.registry import KINDS
from tasks.kinds.tagging import UNTAGGED, align, outcome
from tasks.learning.losses import LOSSES, LossSettings
from tasks.learning.tokenisers import fit_tokeniser

CLASSES = ["person", "place"]
TAGS = tag_names(CLASSES)
MANIFEST = Manifest(task="tagging", labels=TAGS, encoders=[])


@pytest.fixture(scope="module")
def encoder() -> TokenEncoder:
    return fit_tokeniser(["anna met bela in oslo and rome"] * 5, size=200, max_length=8)


def codes(encoder: TokenEncoder, text: str, *spans: tuple[int, int, str]) -> np.ndarray:
    labels = np.empty(1, object)
    labels[0] = [{"start": start, "end": end, "label": label} for start, end, label in spans]
    return align([text], labels, [encoder], CLASSES)


def scores_of(*rows: list[int]) -> np.ndarray:
    """Scores [rows, positions, tags] whose best tags are these."""
    return 0.1 + 0.5 * np.eye(len(TAGS), dtype=np.float32)[np.array(rows)]


def test_the_first_token_of_a_span_begins_it_and_padding_has_no_tag(encoder):
    made = codes(encoder, "Anna met Bela", (0, 8, "person"), (9, 13, "place"))
    assert made.tolist() == [[1, 2, 3, *[UNTAGGED] * 5]]


def test_places_are_those_of_the_cleaned_text_in_code_points(encoder):
    made = codes(encoder, "好 Oslo", (2, 6, "place"))
    assert made[0, :2].tolist() == [0, 3]


def test_a_span_that_ends_inside_a_token_is_learned_but_counts_as_missed(encoder):
    made = codes(encoder, "Anna met", (0, 3, "person"))
    assert made[0, :2].tolist() == [1 + len(TAGS), 0]
    right = scores_of([1, 0])
    assert KINDS["tagging"].metrics(right, made)["span_f1"] == 0.0
    loss = LOSSES["token_softmax"](LossSettings("cross_entropy", np.ones(len(TAGS), np.float32)))
    assert float(loss(made, 20 * right)[0]) < float(loss(made, 20 * scores_of([0, 1]))[0])


def test_span_f1_asks_for_class_beginning_and_end():
    truth = np.array([[1, 2, 0, 3, UNTAGGED], [0, 0, 0, 0, 0]], np.int32)
    metrics = KINDS["tagging"].metrics
    assert metrics(scores_of([1, 2, 0, 3, 3], [0] * 5), truth)["span_f1"] == 1.0
    assert metrics(scores_of([1, 0, 0, 3, 0], [0] * 5), truth)["span_f1"] == 0.5
    assert metrics(scores_of([3, 4, 0, 3, 0], [0] * 5), truth)["span_f1"] == 0.5
    shares = metrics(scores_of([1, 2, 0, 3, 0], [0, 1, 0, 0, 0]), truth)
    assert shares["span_f1"] == pytest.approx(0.8)
    assert shares["accuracy"] == 0.5


def test_an_outcome_counts_entities_by_class_and_finds_the_metrics_of_training_again():
    truth = np.array([[1, 2, 0, 3], [1, 0, 3, UNTAGGED]], np.int32)
    scores = scores_of([1, 2, 0, 0], [1, 0, 1, 1])
    found = outcome(scores, truth, MANIFEST)
    assert found.actual.toarray().tolist() == [[1, 1], [1, 1]]
    assert found.predicted.toarray().tolist() == [[1, 0], [2, 0]]
    assert found.hits.toarray().tolist() == [[1, 0], [1, 0]]
    assert found.correct.tolist() == [True, True, False]
    figures = measure(found, 1, KINDS["tagging"].figures, rounds=50).figures
    assert figures["span_f1"].value == pytest.approx(KINDS["tagging"].metrics(scores, truth)["span_f1"])
    assert figures["accuracy"].value == 0.0


def test_the_loss_is_the_mean_over_tokens_whatever_the_padding():
    loss = LOSSES["token_softmax"](LossSettings("cross_entropy", np.ones(len(TAGS), np.float32)))
    logits = np.random.default_rng(1).normal(size=(1, 3, len(TAGS))).astype(np.float32)
    short = float(loss(np.array([[1, 0, UNTAGGED]], np.int32), logits)[0])
    long = np.concatenate([logits[:, :2], np.full((1, 4, len(TAGS)), 9, np.float32)], axis=1)
    assert float(loss(np.array([[1, 0, *[UNTAGGED] * 6]], np.int32), long)[0]) == pytest.approx(short)


def test_a_part_without_entities_has_figures(encoder):
    nothing = codes(encoder, "met in")
    found = outcome(scores_of([0, 0]), nothing, MANIFEST)
    figures = measure(found, 1, KINDS["tagging"].figures, rounds=20).figures
    assert figures["accuracy"].value == 1.0
    assert figures["span_f1"].value == 0.0
