from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.manifest import TokenSettings, parse
from bentos.text_classifier.model import TextModel
from tasks.base.errors import InputError
from tasks.base.settings import TrainSettings
from tasks.candidates.plan import plan
from tasks.conversion.convert import convert, load_keras
from tasks.data.rows import Rows
from tasks.learning.job import Job
from tasks.models.architectures import architectures
from tasks.models.pretrained.folder import open_folder
from tests.tasks.models.pretrained.reference import make_folder
from tests.tasks.toy import make_dataset


def test_vectors_are_the_principal_components_of_the_word_table(tmp_path: Path) -> None:
    pretrained = open_folder(make_folder(tmp_path / "weights"))
    with pretrained.reading() as stored:
        table = stored("embeddings.word_embeddings.weight").astype(np.float64)
    vectors = pretrained.word_vectors(table.shape[1])
    assert vectors.std() == pytest.approx(0.25 / 3**0.5, rel=1e-5)
    spreads = vectors.std(axis=0)
    assert (np.diff(spreads) <= 1e-6).all()
    # All components together are the table itself, turned and scaled: angles between pieces stay.
    centred = table - table.mean(axis=0)
    scale = np.linalg.norm(centred) / np.linalg.norm(vectors)
    np.testing.assert_allclose(vectors @ vectors.T * scale**2, centred @ centred.T, atol=1e-3)
    chosen = np.array([5, 3, 8])
    assert replace(pretrained, rows=chosen).word_vectors(2).shape == (3, 2)


def test_a_structure_is_no_wider_than_the_encoder_whose_pieces_it_takes(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", rows=90)
    weights = make_folder(tmp_path / "e5-small", "xlm-roberta")
    job = Job(dataset, tmp_path / "model", TrainSettings(pretrained=str(weights), epochs=2), "quick", 13)
    candidate = architectures()["cnn"].fit(job)
    assert (candidate.settings["pretrained"], candidate.settings["width"]) == (open_folder(weights).name, 16)
    assert "vocabulary" not in candidate.settings
    model = TextModel.load(convert(candidate, dataset, tmp_path / "converted").folder)
    wanted = np.load(candidate.folder / "validation.npy")
    np.testing.assert_allclose(model.logits(Rows(dataset.validation).texts()), wanted, atol=1e-4)


def test_pieces_of_ones_own_on_request_and_for_tagging(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", rows=60)
    train = TrainSettings(epochs=1, hyper={"lstm": {"vectors": "own"}})
    candidate = architectures()["lstm"].fit(Job(dataset, tmp_path / "model", train, "quick", 13))
    (settings,) = parse((candidate.folder / MANIFEST).read_bytes()).encoders
    assert isinstance(settings, TokenSettings)
    assert settings.max_length == dataset.max_length
    assert "pretrained" not in candidate.settings
    derived = {task: dataset.model_copy(update={"task": task}) for task in ("single", "multi", "tagging")}
    found = {task: architectures()["lstm"].hyper(data, "quick")["vectors"] for task, data in derived.items()}
    assert found == {"single": "pretrained", "multi": "pretrained", "tagging": "own"}


def test_another_beginning_of_vectors_is_refused(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", rows=60)
    train = TrainSettings(hyper={"cnn": {"vectors": "glove"}})
    with pytest.raises(InputError, match=r"train\.hyper\.cnn\.vectors: there is no 'glove'; there are own, pretrained"):
        plan(dataset, train, "standard", speed=1.0)


@pytest.mark.parametrize(
    ("by_hand", "message"),
    [
        (
            {"vocabulary": 500, "width": 8},
            r"cnn\.vocabulary: .* while vectors are 'pretrained'; set .*\.vectors to 'own'",
        ),
        ({"vectors": "own", "vectors_rate": 0.5}, r"cnn\.vectors_rate: .* are 'own'; set .*\.vectors to 'pretrained'"),
    ],
)
def test_what_has_no_effect_on_these_vectors_is_refused(tmp_path: Path, by_hand: dict[str, Any], message: str) -> None:
    dataset = make_dataset(tmp_path / "data", rows=60)
    with pytest.raises(InputError, match=message):
        plan(dataset, TrainSettings(hyper={"cnn": by_hand}), "standard", speed=1.0)


def test_vectors_of_an_encoder_move_at_their_own_rate(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", rows=60)
    weights = make_folder(tmp_path / "weights")
    before = open_folder(weights).word_vectors(16)
    moved = {}
    for rate in (0.0, 0.1, 1.0):
        train = TrainSettings(pretrained=str(weights), epochs=1, hyper={"cnn": {"vectors_rate": rate}})
        candidate = architectures()["cnn"].fit(Job(dataset, tmp_path / str(rate), train, "quick", 13))
        assert candidate.settings["vectors_rate"] == rate
        model: Any = load_keras(candidate.folder)
        moved[rate] = np.abs(model.get_layer("embedding").get_weights()[0] - before).max()
    assert moved[0.0] == 0.0
    assert 0.0 < moved[0.1] < 0.3 * moved[1.0]


@pytest.mark.parametrize(("words", "rate"), [(80_000, 0.1), (1_400_000, 1.0)])
def test_of_many_words_vectors_move_freely(tmp_path: Path, words: int, rate: float) -> None:
    dataset = make_dataset(tmp_path / "data", rows=30)
    dataset = dataset.model_copy(update={"profile": dataset.profile.model_copy(update={"total_tokens": words})})
    assert architectures()["cnn"].hyper(dataset, "standard")["vectors_rate"] == rate
