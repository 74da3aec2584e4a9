import numpy as np
import pytest
from sklearn import metrics as reference

from bentos.text_classifier.manifest import Manifest
from tasks.kinds.calibration import Bins, squared_error
from tasks.kinds.figures import Outcome, drawn, measure
from tasks.kinds.intervals import proportion
from tasks.kinds.registry import KINDS

LABELS = 4
ECE = "expected_calibration_error"
MANIFEST = Manifest(labels=[f"label {index}" for index in range(LABELS)], encoders=[])


def probabilities(rows: int, seed: int = 0, decimals: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Scores [rows, labels] and the targets drawn from them, so that the scores are calibrated."""
    generator = np.random.default_rng(seed)
    scores = generator.dirichlet(np.full(LABELS, 0.4), size=rows)
    targets = np.array([generator.choice(LABELS, p=row) for row in scores])
    return scores.round(decimals).astype(np.float32), targets


def single(rows: int, seed: int = 0, decimals: int = 6) -> tuple[Outcome, np.ndarray, np.ndarray]:
    scores, targets = probabilities(rows, seed, decimals)
    return KINDS["single"].outcome(scores, targets, MANIFEST), scores, targets


@pytest.mark.parametrize("decimals", [6, 1], ids=["distinct scores", "tied scores"])
def test_single_label_figures_are_those_of_scikit_learn(decimals: int) -> None:
    judged, scores, targets = single(500, decimals=decimals)
    answers, truths = scores.argmax(axis=1), np.eye(LABELS)[targets]
    figures = measure(judged, seed=1, rounds=20).figures
    expected = {
        "accuracy": reference.accuracy_score(targets, answers),
        "macro_f1": reference.f1_score(targets, answers, average="macro"),
        "weighted_f1": reference.f1_score(targets, answers, average="weighted"),
        "macro_precision": reference.precision_score(targets, answers, average="macro"),
        "macro_recall": reference.balanced_accuracy_score(targets, answers),
        "matthews": reference.matthews_corrcoef(targets, answers),
        "roc_auc": reference.roc_auc_score(truths, scores, average="macro"),
        "pr_auc": reference.average_precision_score(truths, scores, average="macro"),
    }
    for name, value in expected.items():
        assert figures[name].value == pytest.approx(value, abs=1e-6), name
        assert figures[name].low <= value <= figures[name].high, name


def test_multi_label_figures_are_those_of_scikit_learn_at_the_models_thresholds() -> None:
    generator = np.random.default_rng(3)
    scores = generator.random((300, LABELS)).astype(np.float32)
    truths = (generator.random((300, LABELS)) < scores).astype(np.int8)
    manifest = Manifest(task="multi", labels=MANIFEST.labels, encoders=[], thresholds=[0.3, 0.5, 0.6, 0.9])
    answers = scores >= np.array(manifest.thresholds, np.float32)
    figures = measure(KINDS["multi"].outcome(scores, truths, manifest), 1, ("micro_f1", "macro_f1"), rounds=20).figures
    assert figures["micro_f1"].value == pytest.approx(reference.f1_score(truths, answers, average="micro"))
    assert figures["macro_f1"].value == pytest.approx(reference.f1_score(truths, answers, average="macro"))
    assert figures["accuracy"].value == pytest.approx(reference.accuracy_score(truths, answers))
    assert figures["roc_auc"].value == pytest.approx(reference.roc_auc_score(truths, scores, average="macro"))


def test_each_label_has_its_precision_recall_and_support() -> None:
    judged, scores, targets = single(400)
    columns = np.array(reference.precision_recall_fscore_support(targets, scores.argmax(axis=1)))
    for row, expected in zip(measure(judged, 1, rounds=20).per_label, columns.T, strict=True):
        assert [row["precision"], row["recall"], row["f1"], row["support"]] == pytest.approx(expected.tolist())
        assert row["f1_low"] <= row["f1"] <= row["f1_high"]


def test_intervals_hold_the_true_value_about_as_often_as_they_say() -> None:
    truth = measure(single(100_000, seed=99)[0], 1, ("macro_f1",), rounds=1).figures
    names = ("accuracy", "macro_f1", "log_loss")
    held = dict.fromkeys(names, 0)
    for seed in range(60):
        figures = measure(single(200, seed)[0], seed, ("macro_f1",), rounds=200).figures
        for name in names:
            held[name] += figures[name].low <= truth[name].value <= figures[name].high
    assert all(count >= 51 for count in held.values()), held  # below 51 of 60 with p < 0.002 at 95 %


def test_accuracy_without_a_mistake_is_not_certain() -> None:
    figure = proportion(50, 50)
    assert figure.value == 1.0
    assert 0.9 < figure.low < 0.95
    assert proportion(0, 0).low == 0.0
    assert proportion(0, 0).high == 1.0


def test_the_same_seed_gives_the_same_figures() -> None:
    judged = single(150)[0]
    assert measure(judged, 5, rounds=50) == measure(judged, 5, rounds=50)


def test_calibrated_scores_have_no_error_once_chance_is_taken_out() -> None:
    """The classic figure shows several percent of error on a few hundred rows of a perfect model."""
    errors, plug_ins = [], []
    for seed in range(30):
        judged = single(500, seed)[0]
        bins = Bins.of(judged.confidence, judged.correct)
        errors.append(bins.error)
        plug_ins.append(bins.plug_in)
    assert np.mean(plug_ins) > 0.035
    assert np.mean(errors) < 0.02


def test_overconfidence_is_found_in_full() -> None:
    generator = np.random.default_rng(0)
    correct = generator.random(4000) < 0.7
    assert Bins.of(np.full(4000, 0.9), correct).error == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("sharper", [1.0, 1.6], ids=["calibrated", "too sure"])
def test_the_interval_of_the_calibration_error_holds_the_true_one(sharper: float) -> None:
    held = 0
    for seed in range(40):
        scores, targets = probabilities(600, seed)
        shown = scores**sharper / (scores**sharper).sum(axis=1, keepdims=True)
        best = shown.argmax(axis=1)
        gaps = np.take_along_axis(shown - scores, best[:, None], axis=1)
        figure = measure(KINDS["single"].outcome(shown, targets, MANIFEST), seed, (), rounds=200).figures[ECE]
        assert 0.0 <= figure.low <= figure.value <= figure.high
        held += figure.low - 1e-3 <= np.sqrt(np.mean(gaps**2)) <= figure.high + 1e-3
    assert held >= 33  # below 33 of 40 with p < 0.002 at 95 %


def test_calibration_error_is_vectorised_over_draws() -> None:
    count, confidence, correct = np.full((3, 15), 10.0), np.full((3, 15), 8.0), np.full((3, 15), 5.0)
    errors = squared_error(count, confidence, correct)
    assert errors.shape == (3,)
    assert np.allclose(errors, errors[0])


def test_a_bin_holds_equally_many_rows() -> None:
    table = Bins.of(np.linspace(0, 1, 150), np.ones(150)).table()
    assert [row["rows"] for row in table] == [10] * 15
    assert Bins.of(np.array([0.5]), np.array([1])).table()[0]["rows"] == 1


def test_paired_draws_of_two_models_take_the_same_rows() -> None:
    judged = single(300)[0]
    assert np.array_equal(drawn(judged, "accuracy", 4, 50), drawn(judged, "accuracy", 4, 50))
    assert drawn(judged, "macro_f1", 4, 50).shape == (50,)


def test_ranking_figures_are_left_out_where_they_mean_nothing() -> None:
    scores = np.array([[0.9, 0.1], [0.8, 0.2]], np.float32)
    manifest = Manifest(labels=["a", "b"], encoders=[])
    assert "roc_auc" not in measure(KINDS["single"].outcome(scores, np.array([0, 0]), manifest), 0, rounds=10).figures


def test_one_test_row_gives_figures() -> None:
    judged = KINDS["single"].outcome(
        np.array([[0.9, 0.1]], np.float32), np.array([1]), Manifest(labels=["a", "b"], encoders=[])
    )
    figures = measure(judged, 0, rounds=10).figures
    assert figures["accuracy"].value == 0.0
    assert all(np.isfinite([one.value, one.low, one.high]).all() for one in figures.values())
