import numpy as np
import pytest
from sklearn.metrics import f1_score

from tasks.kinds.scaling import f1_thresholds, sigmoid_line, sigmoid_temperature, softmax_power, softmax_temperature


def drawn(logits: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A label for each row, by the probabilities that softmax gives its logits."""
    weights = np.exp(logits)
    shares = weights.cumsum(axis=1) / weights.sum(axis=1, keepdims=True)
    return (shares > generator.random((len(logits), 1))).argmax(axis=1)


def test_softmax_temperature_finds_how_much_too_sure_the_logits_are() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 5)) * 2
    targets = drawn(logits, generator)
    assert softmax_temperature(logits * 3, targets) == pytest.approx(3.0, rel=0.03)
    assert softmax_temperature(logits / 4, targets) == pytest.approx(0.25, rel=0.03)


@pytest.mark.parametrize("bent_by", [0.9, 2.0])
def test_softmax_power_finds_how_distances_were_bent(bent_by: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 4)) * 2
    targets = drawn(logits, generator)
    distances = logits.max(axis=1, keepdims=True) - logits
    bent = 7.0 - ((1.0 + bent_by * distances) ** (1.0 / bent_by) - 1.0)
    temperature, exponent = softmax_power(bent, targets)
    assert (temperature, exponent) == (pytest.approx(1.0, rel=0.05), pytest.approx(bent_by, rel=0.06))
    assert softmax_power(logits * 3, targets) == (pytest.approx(3.0, rel=0.1), pytest.approx(1.0, rel=0.05))
    few = slice(1_000)
    assert softmax_power(bent[few], targets[few]) == (softmax_temperature(bent[few], targets[few]), 1.0)


def test_softmax_power_does_not_stop_where_it_starts() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(4_000, 4)) * 4
    targets = drawn(logits, generator)
    distances = logits.max(axis=1, keepdims=True) - logits
    bent = -((1.0 + 0.93 * distances) ** (1.0 / 0.93) - 1.0)
    assert softmax_power(bent, targets) == (pytest.approx(0.970, abs=0.005), pytest.approx(0.923, abs=0.005))


def test_margins_of_one_against_the_rest_become_probabilities() -> None:
    generator = np.random.default_rng(0)
    margins = generator.normal(-1.0, 0.6, size=(20_000, 12))
    claims = 1 / (1 + np.exp(-(5.0 * margins + 2.0)))
    shares = claims / claims.sum(axis=1, keepdims=True)
    targets = (shares.cumsum(axis=1) > generator.random((20_000, 1))).argmax(axis=1)
    assert sigmoid_line(margins, targets) == pytest.approx((5.0, 2.0), rel=0.1)
    assert sigmoid_line(margins[:0], targets[:0]) == (1.0, 0.0)


def test_sigmoid_temperature_finds_it_too() -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(10_000, 3)) * 2
    targets = (generator.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int8)
    assert sigmoid_temperature(logits * 2.5, targets) == pytest.approx(2.5, rel=0.04)


def test_a_few_rows_without_a_mistake_do_not_make_every_answer_certain() -> None:
    logits = np.eye(3)[[0, 1, 2] * 5] * 2.0
    temperature = softmax_temperature(logits, logits.argmax(axis=1))
    best = 1 / (1 + 2 * np.exp(-2.0 / temperature))
    assert 0.9 < best < 0.99


def test_no_rows_leave_the_scores_alone() -> None:
    assert softmax_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0
    assert sigmoid_temperature(np.zeros((0, 3)), np.zeros((0, 3))) == 1.0


def multi_label(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits and targets of a frequent, a rare and a very rare label."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, 3)) * 2 + np.array([0.0, -3.0, -7.0])
    return logits, (generator.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.int8)


def test_thresholds_raise_f1_on_rows_that_they_were_not_fitted_on() -> None:
    thresholds = f1_thresholds(*multi_label(3000, 1), 1.0)
    logits, targets = multi_label(3000, 2)
    scores = 1 / (1 + np.exp(-logits))
    plain = f1_score(targets[:, 1], scores[:, 1] >= 0.5)
    assert f1_score(targets[:, 1], scores[:, 1] >= thresholds[1]) > plain + 0.02
    assert thresholds[1] < 0.5


def test_a_label_with_few_positives_takes_the_threshold_of_all() -> None:
    logits, targets = multi_label(500, 1)
    targets[:, 2] = 0
    targets[3, 2] = 1
    few = f1_thresholds(logits, targets, 1.0)[2]
    assert 0.05 < few < 0.6


def test_labels_without_any_positive_keep_one_half() -> None:
    assert f1_thresholds(np.zeros((10, 2)), np.zeros((10, 2)), 1.0) == [0.5, 0.5]
