from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.svm import LinearSVC

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.encoding import GramEncoder
from bentos.text_classifier.manifest import parse
from tasks.base.settings import TrainSettings
from tasks.learning.backend import keras
from tasks.learning.job import Job
from tasks.learning.ngrams import fit_grams, sparse
from tasks.learning.support_vectors import Strength, solve
from tasks.models.architectures import architectures
from tasks.models.architectures.linear import bag_model
from tests.tasks.toy import make_dataset, make_texts


@pytest.mark.parametrize("topics", [2, 3])
def test_the_keras_model_decides_exactly_as_linear_svc(topics):
    texts, targets = make_texts(200, seed=1, topics=topics)
    encoder = fit_grams(texts, characters=(1, 3))
    matrix = sparse(encoder, texts)
    solution = solve(matrix, targets, np.ones(len(texts)), topics, Strength(0.7, False), seed=5)
    machine = LinearSVC(C=0.7, random_state=5).fit(matrix, targets)
    model = bag_model(encoder, solution)
    logits = np.asarray(model(encoder.encode(texts)))
    wanted = machine.decision_function(matrix)
    np.testing.assert_allclose(logits if topics > 2 else logits[:, 1], wanted, atol=1e-5)
    np.testing.assert_array_equal(logits.argmax(axis=1), machine.predict(matrix))


def test_several_labels_are_separate_machines_and_a_label_never_seen_is_never_given():
    texts, targets = make_texts(200, seed=2)
    encoder = fit_grams(texts)
    marks = np.concatenate([np.eye(3)[targets], np.zeros((200, 1)), np.ones((200, 1))], axis=1)
    solution = solve(sparse(encoder, texts), marks, np.ones(200), 5, Strength(1.0, False), seed=0)
    logits = solution.logits(sparse(encoder, texts))
    np.testing.assert_array_equal(logits > 0, marks > 0)


def test_a_class_without_training_rows_is_never_the_answer():
    texts, targets = make_texts(200, seed=3, topics=2)
    encoder = fit_grams(texts)
    solution = solve(sparse(encoder, texts), targets * 2, np.ones(200), 3, Strength(1.0, False), seed=0)
    assert set(solution.logits(sparse(encoder, texts)).argmax(axis=1)) == {0, 2}


def test_weights_of_rows_count():
    texts = ["same words", "same words", "other thing"]
    encoder = fit_grams(texts)
    matrix, targets = sparse(encoder, texts), np.array([0, 1, 1])
    for weights, answer in (([9.0, 1.0, 1.0], 0), ([1.0, 9.0, 1.0], 1)):
        solution = solve(matrix, targets, np.array(weights), 2, Strength(10.0, False), seed=0)
        assert solution.logits(matrix)[0].argmax() == answer


@pytest.mark.parametrize("task", ["single", "multi"])
def test_a_fitted_candidate_answers_from_its_folder(tmp_path, task):
    dataset = make_dataset(tmp_path / "data", task)
    shares: list[float] = []
    job = Job(
        dataset, tmp_path / "model", TrainSettings(), "quick", 13, progress=lambda share, text: shares.append(share)
    )
    candidate = architectures()["linear"].fit(job)
    assert candidate.score > 0.95
    assert shares == sorted(shares)
    assert shares[-1] == 1.0

    manifest = parse((candidate.folder / MANIFEST).read_bytes())
    assert manifest.labels == dataset.labels
    (settings,) = manifest.encoders
    encoder = GramEncoder.load(settings, lambda name: (candidate.folder / name).read_bytes())  # type: ignore[arg-type]
    model: Any = keras.models.load_model(candidate.folder / "model.keras")
    texts = pq.read_table(dataset.validation)["text"].to_pylist()
    logits = np.asarray(model(encoder.encode(texts)))
    np.testing.assert_allclose(logits, np.load(candidate.folder / "validation.npy"), atol=1e-5)


def test_uneven_classes_are_tried_balanced_too(tmp_path):
    dataset = make_dataset(tmp_path / "data", imbalance=12.0)
    seen: list[str] = []
    job = Job(dataset, tmp_path / "model", TrainSettings(), "quick", 13, progress=lambda _, text: seen.append(text))
    architectures()["linear"].fit(job)
    assert len(seen) == 2 * (2 + 1)
