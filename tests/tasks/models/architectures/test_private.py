from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.manifest import parse
from bentos.text_classifier.model import TextModel
from tasks.base.manifests import Candidate, Dataset
from tasks.base.settings import PrivacySettings, TrainSettings
from tasks.conversion.convert import convert
from tasks.data.rows import Rows
from tasks.learning.job import Job
from tasks.learning.privacy import spent
from tasks.models.architectures import architectures, is_private
from tasks.verdict.calibrate import calibrate
from tests.tasks.models.pretrained.reference import make_folder
from tests.tasks.toy import make_dataset

NAMES = ("private_linear", "private_encoder")


def trained(name: str, dataset: Dataset, folder: Path, epsilon: float = 20.0, **train: Any) -> Candidate:
    settings = TrainSettings(privacy=PrivacySettings(epsilon=epsilon), **train)
    return architectures()[name].fit(Job(dataset, folder, settings, "quick", 13))


@pytest.mark.parametrize("name", NAMES)
def test_a_private_candidate_answers_alike_after_conversion(tmp_path, name):
    dataset = make_dataset(tmp_path / "data")
    pretrained = str(make_folder(tmp_path / "weights"))
    candidate = trained(name, dataset, tmp_path / "model", pretrained=pretrained)
    # By chance it would be a third; the encoder's weights here are random.
    assert candidate.score > 0.5
    converted = convert(candidate, dataset, tmp_path / "converted")
    found = TextModel.load(converted.folder).logits(Rows(dataset.validation).texts())
    np.testing.assert_allclose(found, np.load(candidate.folder / "validation.npy"), atol=1e-4)


def test_several_labels_can_be_private(tmp_path):
    dataset = make_dataset(tmp_path / "data", "multi", rows=600)
    assert trained("private_linear", dataset, tmp_path / "model").metrics["micro_f1"] > 0.7


def test_the_model_says_what_its_training_kept_to(tmp_path):
    dataset = make_dataset(tmp_path / "data")
    candidate = trained("private_linear", dataset, tmp_path / "model", epsilon=3.0, epochs=10, batch_size=60)
    privacy = parse((candidate.folder / MANIFEST).read_bytes()).privacy
    assert privacy is not None
    assert (privacy.rate, privacy.steps, privacy.clip) == (0.25, 40, 1.0)
    assert privacy.delta == pytest.approx(240**-1.1)
    assert privacy.epsilon == spent(privacy.noise, 0.25, 40, privacy.delta) <= 3.0
    assert candidate.settings["score_without_noise"] > 0.9


def test_nothing_but_the_layer_depends_on_the_rows(tmp_path):
    """Vocabularies, document frequencies and the usual length of texts would tell of the rows."""
    folders = []
    for seed, rows in enumerate((120, 240)):
        dataset = make_dataset(tmp_path / f"data{seed}", rows=rows)
        pretrained = str(make_folder(tmp_path / f"weights{seed}"))
        folders.append([trained(name, dataset, tmp_path / f"{name}{seed}", pretrained=pretrained) for name in NAMES])
    for first, second in zip(*folders, strict=True):
        one, other = (parse((made.folder / MANIFEST).read_bytes()) for made in (first, second))
        assert one.encoders == other.encoders
        for settings in one.encoders:
            if settings.file:
                assert (first.folder / settings.file).read_bytes() == (second.folder / settings.file).read_bytes()


def test_each_training_has_a_noise_of_its_own(tmp_path):
    dataset = make_dataset(tmp_path / "data")
    first, second = (trained("private_linear", dataset, tmp_path / name) for name in ("one", "two"))
    assert first.content != second.content


def test_a_private_model_is_served_without_the_training_texts_n_grams(tmp_path):
    dataset = make_dataset(tmp_path / "data")
    candidate = trained("private_linear", dataset, tmp_path / "model")
    converted = convert(candidate, dataset, tmp_path / "converted")
    served, _ = calibrate(converted.folder, dataset, tmp_path / "served")
    manifest = parse((served / MANIFEST).read_bytes())
    assert manifest.scope is None
    assert manifest.privacy is not None
    assert TextModel.load(served).predict(["goal match"])[0].in_scope is None


def test_they_are_tried_for_a_privacy_budget_only(tmp_path):
    dataset = make_dataset(tmp_path / "data")
    for name in NAMES:
        assert is_private(name)
        assert "epsilon" in (architectures()[name].skip(dataset, TrainSettings()) or "")
        assert architectures()[name].skip(dataset, TrainSettings(privacy=PrivacySettings(epsilon=8.0))) is None
    assert not any(is_private(name) for name in architectures() if name not in NAMES)


def test_the_learning_rate_of_dense_features_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.models.architectures.private.DENSE_RATE", 0.5)
    dataset = make_dataset(tmp_path / "data", rows=60)
    pretrained = str(make_folder(tmp_path / "weights"))
    rates = [trained(name, dataset, tmp_path / name, pretrained=pretrained).settings["learning_rate"] for name in NAMES]
    assert min(rates) == 0.5 < max(rates)
