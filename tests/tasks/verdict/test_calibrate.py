from pathlib import Path

import numpy as np
import pytest

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.decoding import DECODERS
from bentos.text_classifier.model import TextModel
from tasks.verdict.calibrate import calibrate
from tests.bentos.text_classifier.model_folder import WORDS, grams_folder, sentence, with_manifest
from tests.tasks.judged import LABELS, dataset, noisy_dataset


def test_an_overconfident_model_says_afterwards_what_it_means(tmp_path: Path) -> None:
    """ludwig#1908: softmax is overconfident. Here 98 % are claimed and about 75 % are right."""
    data = noisy_dataset(tmp_path / "data", noise=0.25)
    out, fitted = calibrate(grams_folder(tmp_path / "model"), data, tmp_path / "out")
    assert fitted["validation"]["before"]["error"] > 0.15
    assert fitted["validation"]["after"]["error"] < 0.03
    assert TextModel.load(out).manifest.temperature == fitted["temperature"] > 1.5
    assert TextModel.load(out).predict([sentence("food")])[0].score == pytest.approx(0.75, abs=0.05)


def test_only_the_manifest_changes(tmp_path: Path) -> None:
    folder = grams_folder(tmp_path / "model")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    out, _ = calibrate(folder, noisy_dataset(tmp_path / "data"), tmp_path / "out")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    after = {file.name: file.read_bytes() for file in out.iterdir()}
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == [MANIFEST]
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.endswith(".part")] == []


def test_calibrating_never_changes_the_answer(tmp_path: Path) -> None:
    folder = grams_folder(tmp_path / "model")
    out, _ = calibrate(folder, noisy_dataset(tmp_path / "data", noise=0.3), tmp_path / "out")
    texts = [sentence("food"), "atom goal goal", "", "nothing known"]
    assert [one.label for one in TextModel.load(out).predict(texts)] == [
        one.label for one in TextModel.load(folder).predict(texts)
    ]


def test_what_is_fitted_replaces_what_was_there(tmp_path: Path) -> None:
    folder = with_manifest(grams_folder(tmp_path / "model"), temperature=40.0)
    out, _ = calibrate(folder, noisy_dataset(tmp_path / "data"), tmp_path / "out")
    again, _ = calibrate(out, noisy_dataset(tmp_path / "data"), tmp_path / "again")
    assert TextModel.load(again).manifest == TextModel.load(out).manifest


def test_of_many_rows_an_exponent_is_fitted_which_changes_no_answer(tmp_path: Path) -> None:
    folder = grams_folder(tmp_path / "model")
    random = np.random.default_rng(5)
    logits = random.normal(size=(4000, len(LABELS)))
    weights = np.exp(-((logits.max(axis=1, keepdims=True) - logits) ** 2.5))
    shares = (weights / weights.sum(axis=1, keepdims=True)).cumsum(axis=1)
    alike = logits, (shares > random.random((4000, 1))).argmax(axis=1)
    out, fitted = calibrate(folder, noisy_dataset(tmp_path / "data", noise=0.3), tmp_path / "out", alike=alike)
    model = TextModel.load(out)
    assert model.manifest.exponent == fitted["exponent"] != 1.0
    sure = DECODERS["single"].scores(np.array([[1.0, 0.5, -2.0], [3.0, 3.0, 0.0]], np.float32), model.manifest)
    bent = ((1.0 + np.array([[0, 0.5, 3.0], [0, 0, 3.0]])) ** fitted["exponent"] - 1.0) / fitted["exponent"]
    wanted = np.exp(-bent / fitted["temperature"])
    assert sure.dtype == np.float32
    assert sure == pytest.approx(wanted / wanted.sum(axis=1, keepdims=True), abs=1e-5)
    texts = [sentence("food"), "atom goal goal", "", "nothing known"]
    assert [one.label for one in model.predict(texts)] == [one.label for one in TextModel.load(folder).predict(texts)]


def test_rows_that_a_like_model_did_not_see_count_as_much_as_its_own(tmp_path: Path) -> None:
    data = noisy_dataset(tmp_path / "data", noise=0.25)
    folder = grams_folder(tmp_path / "model")
    targets = np.arange(4000) % len(LABELS)
    never_wrong = 4.0 * np.eye(len(LABELS), dtype=np.float32)[targets]
    _, alone = calibrate(folder, data, tmp_path / "alone")
    _, together = calibrate(folder, data, tmp_path / "together", alike=(never_wrong, targets))
    assert together["rows"] == 4000 + alone["rows"]
    assert together["temperature"] < 0.8 * alone["temperature"]


def test_texts_of_another_kind_are_out_of_scope(tmp_path: Path) -> None:
    out, _ = calibrate(grams_folder(tmp_path / "model"), noisy_dataset(tmp_path / "data"), tmp_path / "out")
    answers = TextModel.load(out).predict([sentence("sport"), "这是完全不同的东西，而且很长很长"])
    assert [one.in_scope for one in answers] == [True, False]


def test_multi_label_models_get_a_threshold_for_each_label(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)

    def part(rows: int) -> tuple[list[str], list[list[str]]]:
        chosen = [[name for name in LABELS if generator.random() < 0.4] or ["food"] for _ in range(rows)]
        return [" ".join(WORDS[name][row % 5] for name in names) for row, names in enumerate(chosen)], chosen

    data = dataset(tmp_path / "data", {"train": part(50), "validation": part(300), "test": part(50)}, task="multi")
    out, fitted = calibrate(grams_folder(tmp_path / "model", task="multi"), data, tmp_path / "out")
    thresholds = TextModel.load(out).manifest.thresholds
    assert thresholds == fitted["thresholds"]
    assert thresholds is not None
    assert len(thresholds) == len(LABELS)
    answer = TextModel.load(out).predict(["atom goal"])[0]
    assert answer.label in ("science", "sport")
