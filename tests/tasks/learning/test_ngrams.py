from itertools import combinations, pairwise

import numpy as np
import pytest
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer

from bentos.text_classifier.encoding import GramEncoder
from bentos.text_classifier.text import fold, words
from tasks.learning.ngrams import GramFrequencies, fit_grams, sparse

TEXTS = ["The cat sat, the cat ran!", "A dog ran.", "新华社北京", "the the the", "", "Ｗｉｄｅ CAFÉ cafe\u0301"]


def word_grams(folded: str) -> list[str]:
    tokens = words(folded)
    return tokens + [f"{left} {right}" for left, right in pairwise(tokens)]


def character_grams(folded: str) -> list[str]:
    padded = f" {folded} "
    return [padded[start:end] for start, end in combinations(range(len(padded) + 1), 2) if end - start <= 5]


def test_weights_are_those_of_scikit_learn():
    encoder = fit_grams(TEXTS, words=(1, 2), characters=(1, 5))
    folded = [fold(text) for text in TEXTS]
    matrices, names = [], []
    for mark, analyzer in (("", word_grams), ("\t", character_grams)):
        vectorizer = TfidfVectorizer(analyzer=analyzer, sublinear_tf=True)  # type: ignore[arg-type]  # a callable too
        matrices.append(vectorizer.fit_transform(folded))
        names.extend(mark + gram for gram in vectorizer.get_feature_names_out())
    wanted = hstack(matrices)
    order = [names.index(gram) for gram in encoder.vocabulary]
    assert sorted(names) == sorted(encoder.vocabulary)
    np.testing.assert_allclose(sparse(encoder, TEXTS).toarray(), wanted.toarray()[:, order], atol=1e-6)


def test_mean_weights_sum_to_one():
    encoder = fit_grams(TEXTS, characters=(2, 3), weighting="mean")
    totals = sparse(encoder, TEXTS).sum(axis=1)
    np.testing.assert_allclose(np.asarray(totals).ravel(), [1, 1, 1, 1, 1, 1], atol=1e-6)


def test_padded_inputs_hold_the_sparse_rows():
    encoder = fit_grams(TEXTS, characters=(1, 3))
    inputs = encoder.encode(TEXTS)
    ids, weights = inputs[encoder.settings.name], inputs[f"{encoder.settings.name}_weights"]
    dense = np.zeros((len(TEXTS), len(encoder.vocabulary) + 1), np.float32)
    for row in range(len(TEXTS)):
        np.add.at(dense[row], ids[row], weights[row])
    np.testing.assert_array_equal(dense[:, 1:], sparse(encoder, TEXTS).toarray())


@pytest.mark.parametrize("weighting", ["tfidf", "mean"])
def test_a_text_is_encoded_alike_alone_and_in_any_batch(weighting):
    texts = [f"{text} {number * 'ab '}" for number, text in enumerate(TEXTS * 20)]
    encoder = fit_grams(texts, characters=(1, 5), weighting=weighting)
    together = sparse(encoder, texts, batch=len(texts))
    for row, text in enumerate(texts):
        alone = sparse(encoder, [text])
        assert (alone != together[row]).nnz == 0


def test_a_loaded_encoder_encodes_identically():
    encoder = fit_grams(TEXTS, characters=(1, 4))
    loaded = GramEncoder.load(encoder.settings, {encoder.settings.file: encoder.dump()}.__getitem__)
    for name, array in encoder.encode(TEXTS).items():
        np.testing.assert_array_equal(loaded.encode(TEXTS)[name], array)


def test_an_encoder_without_grams_loads():
    encoder = fit_grams(["one", "two"], min_df=2)
    loaded = GramEncoder.load(encoder.settings, {encoder.settings.file: encoder.dump()}.__getitem__)
    inputs = loaded.encode(["one", ""])
    assert inputs[encoder.settings.name].tolist() == [[0], [0]]
    assert inputs[f"{encoder.settings.name}_weights"].tolist() == [[0.0], [0.0]]


def test_the_vocabulary_does_not_depend_on_the_order_of_rows():
    forward, backward = fit_grams(TEXTS, characters=(1, 3)), fit_grams(TEXTS[::-1], characters=(1, 3))
    assert forward.vocabulary == backward.vocabulary
    assert forward.settings == backward.settings


def test_different_vocabularies_have_different_names():
    assert fit_grams(TEXTS).settings.name != fit_grams(TEXTS[1:]).settings.name
    assert fit_grams(TEXTS).settings.name != fit_grams(TEXTS, weighting="mean").settings.name


def test_limits_keep_the_most_frequent_of_each_kind():
    encoder = fit_grams(["b a b", "b a", "b c"], words=(1, 1), characters=(1, 1), max_features=2)
    assert list(encoder.vocabulary) == ["b", "a", "\t ", "\tb"]
    assert list(fit_grams(["b a", "b c"], words=(1, 1), min_df=2).vocabulary) == ["b"]


def test_rare_grams_are_forgotten_before_memory_runs_out():
    counted = GramFrequencies((1, 1), None, max_features=50)
    counted.count(f"common word{number}" for number in range(3000))
    assert len(counted.groups[0]) < 1500
    assert counted.encoder().vocabulary[0] == "common"


def test_what_becomes_frequent_late_is_not_forgotten():
    counted = GramFrequencies((1, 1), None, max_features=10)
    counted.count(f"word{number}{' late' if number > 50_000 and number % 20 == 0 else ''}" for number in range(60_000))
    assert counted.encoder().vocabulary[0] == "late"
