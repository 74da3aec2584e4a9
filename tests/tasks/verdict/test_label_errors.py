import numpy as np
import pytest

from tasks.base.optional import NoResult
from tasks.verdict.label_errors import cross_validated_scores, rank_label_errors
from tests.bentos.text_classifier.model_folder import WORDS
from tests.tasks.judged import LABELS, rows


def test_planted_errors_are_found_without_a_model_that_has_seen_them() -> None:
    texts, labels = rows(600, 1, noise=0.0)
    targets = np.array([LABELS.index(label) for label in labels])
    planted = set(np.random.default_rng(0).choice(600, 30, replace=False).tolist())
    for row in planted:
        targets[row] = (targets[row] + 1) % len(LABELS)
    scores = cross_validated_scores(texts, targets, len(LABELS), seed=0)
    found = rank_label_errors(texts, targets, scores, LABELS, "training")
    named = {texts.index(one["text"]) for one in found}
    assert len(named & planted) >= 28
    assert len(named - planted) <= 3


def test_an_entry_says_what_the_label_is_and_what_it_looks_like() -> None:
    texts = ["atom cell", "atom orbit", "goal match", "goal race"] * 10 + ["atom theory"]
    targets = np.array([0, 0, 1, 1] * 10 + [1])
    scores = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]] * 10 + [[0.95, 0.05]])
    found = rank_label_errors(texts, targets, scores, ["science", "sport"], "validation")
    assert found == [
        {
            "text": "atom theory",
            "label": "sport",
            "suggested": "science",
            "confidence": 0.95,
            "label_score": 0.05,
            "part": "validation",
        }
    ]


def test_missing_labels_of_a_multi_label_text_are_found() -> None:
    generator = np.random.default_rng(0)
    truths = (generator.random((400, 3)) < 0.5).astype(np.int8)
    truths[truths.sum(axis=1) == 0, 0] = 1
    texts = [" ".join(WORDS[LABELS[k]][row % 5] for k in np.flatnonzero(truth)) for row, truth in enumerate(truths)]
    scores = np.where(truths, 0.95, 0.05)
    wrong = int(np.flatnonzero(truths.sum(axis=1) == 3)[0])
    truths[wrong, 2] = 0
    found = rank_label_errors(texts, truths, scores, LABELS, "validation")
    assert found[0]["text"] == texts[wrong]
    assert found[0]["suggested"] == ", ".join(LABELS)


def test_a_class_of_one_row_does_not_stop_it() -> None:
    texts, labels = rows(30, 1, noise=0.0)
    targets = np.array([LABELS.index(label) for label in labels])
    scores = cross_validated_scores([*texts, "odd"], np.append(targets, 3), 4, seed=0)
    assert np.isfinite(scores).all()
    assert np.allclose(scores.sum(axis=1), 1.0)
    rank_label_errors([*texts, "odd"], np.append(targets, 3), scores, [*LABELS, "odd"], "training")


@pytest.mark.parametrize("rare", [0, 1, 2])
def test_a_label_that_every_row_has_or_nearly_every_row_leaves_the_others_to_be_doubted(rare: int) -> None:
    generator = np.random.default_rng(0)
    truths = (generator.random((60, 3)) < 0.5).astype(np.int8)
    truths[:, 0] = 1
    truths[:rare, 0] = 0
    scores = np.where(truths, 0.95, 0.05)
    wrong = int(np.flatnonzero(truths[:, 2])[-1])
    truths[wrong, 2] = 0
    found = rank_label_errors([f"text {row}" for row in range(60)], truths, scores, LABELS, "validation")
    assert found[0]["text"] == f"text {wrong}"


def test_where_all_rows_but_some_lack_one_label_that_label_is_doubted() -> None:
    truths = np.zeros((40, 3), np.int8)
    truths[:20, 1] = 1
    scores = np.where(truths, 0.95, 0.05)
    truths[3, 1] = 0
    found = rank_label_errors([f"text {row}" for row in range(40)], truths, scores, LABELS, "validation")
    assert [one["text"] for one in found] == ["text 3"]
    quick = cross_validated_scores([f"{'atom' if row < 20 else 'goal'} {row}" for row in range(40)], truths, 3, 0)
    assert quick[:20, 1].mean() > 0.5 > quick[20:, 1].mean()
    assert not quick[:, [0, 2]].any()


@pytest.mark.parametrize("targets", [np.ones(3, int), np.ones((3, 2), np.int8), np.zeros((3, 2), np.int8)])
def test_rows_that_are_all_labelled_alike_have_no_doubtful_labels(targets: np.ndarray) -> None:
    """A part that was kept back of few rows may hold one class only."""
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.8, 0.2]])
    with pytest.raises(NoResult, match=r"all 3 rows have the same labels?$"):
        rank_label_errors(["a", "b", "c"], targets, scores, ["one", "two"], "validation")


@pytest.mark.parametrize(
    ("texts", "why"),
    [
        (["one"], "there is one row only"),
        ([" ", "\n"], "the texts have no words"),
        ([f"id{row}" for row in range(1001)], "the texts have no words in common"),
    ],
)
def test_rows_that_nothing_can_be_learned_from_say_so(texts: list[str], why: str) -> None:
    with pytest.raises(NoResult, match=f"^{why}$"):
        cross_validated_scores(texts, np.arange(len(texts)) % 2, 2, seed=0)
