"""Explanations are additive, find the words that matter, and survive any text."""

import numpy as np
import pytest

from benchmarks.linear_model import write_linear_model
from bentos.text_classifier.explain import ExplanationError, contributions, explain, segments
from bentos.text_classifier.model import TextModel

ODD = ["", "   ", "\u200b", "\ud800", "a\udfff b", "\x00", "?", "的", "e\u0301", "😀", "a\u200bb c"]
FILLER = ["the", "service", "and", "food", "was", "place", "we", "went", "there", "again", "with", "friends"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    generator = np.random.default_rng(0)
    texts, labels = [], []
    for _ in range(400):
        label, words = [("good", ["great", "lovely", "好"]), ("bad", ["awful", "nasty", "坏"])][generator.integers(2)]
        body = [*generator.choice(FILLER, 6), generator.choice(words)]
        generator.shuffle(body)
        texts.append(" ".join(body))
        labels.append(label)
    return write_linear_model(tmp_path_factory.mktemp("model"), texts, labels, words=(1, 1))


def score(model: TextModel, text: str, label: str) -> float:
    return float(model.scores(model.logits([text]))[0][model.manifest.labels.index(label)])


def test_words_are_found_in_the_text_as_sent() -> None:
    text = "Don’t  stop,\u00a0e\u0301te\u0301 wo\u200brd 好吃!!\ud800"
    found = [text[start:end] for start, end in segments(text)]
    assert found == ["Don’t", "stop", ",", "e\u0301te\u0301", "wo\u200brd", "好", "吃", "!!\ud800"]


def test_the_word_that_decides_weighs_most(model: TextModel) -> None:
    text = "we went there again and the food was awful"
    found = explain(model, text, "bad")
    assert max(found, key=lambda one: one.weight).text == "awful"
    assert max(explain(model, text, "good"), key=lambda one: -one.weight).text == "awful"


def test_without_a_label_the_best_one_is_explained(model: TextModel) -> None:
    assert explain(model, "lovely food") == explain(model, "lovely food", "good")


@pytest.mark.parametrize("words", [1, 2, 6, 20, 60, 300])
def test_weights_sum_to_the_score_difference(model: TextModel, words: int) -> None:
    generator = np.random.default_rng(words)
    text = " ".join(generator.choice([*FILLER, "great", "nasty", "好吃"], words))
    found = explain(model, text, "good", budget=120, seed=3)
    assert sum(one.weight for one in found) == pytest.approx(score(model, text, "good") - score(model, "", "good"))
    assert all(text[one.start : one.end] == one.text for one in found)
    assert [one.start for one in found] == sorted(one.start for one in found)


@pytest.mark.parametrize("words", [3, 20, 60, 400])
def test_the_budget_bounds_the_evaluations(model: TextModel, words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    run = TextModel.run
    monkeypatch.setattr(
        TextModel, "run", lambda self, inputs: (seen.append(len(inputs["grams"])), run(self, inputs))[1]
    )
    explain(model, " ".join(FILLER[index % 12] for index in range(words)), budget=80)
    assert 0 < sum(seen) <= 80


def test_a_long_text_names_the_deciding_word_itself(model: TextModel) -> None:
    words = [FILLER[index % 12] for index in range(400)]
    words[237] = "awful"
    found = explain(model, " ".join(words), "bad")
    assert max(found, key=lambda one: one.weight).text == "awful"


def test_equal_seeds_give_equal_weights(model: TextModel) -> None:
    text = " ".join(FILLER) + " great"
    assert explain(model, text, seed=5) == explain(model, text, seed=5)


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_are_explained_with_finite_weights(model: TextModel, text: str) -> None:
    assert all(np.isfinite(one.weight) for one in explain(model, text))


def test_a_text_without_words_has_no_explanation(model: TextModel) -> None:
    assert explain(model, " \u200b\n") == []


def test_an_unknown_label_is_named(model: TextModel) -> None:
    with pytest.raises(ExplanationError, match="'neutral' is not one of"):
        explain(model, "fine", "neutral")


def test_a_very_long_text_is_explained_in_bounded_work(model: TextModel) -> None:
    assert explain(model, "awful food " * 20_000, "bad", budget=2000)


@pytest.mark.parametrize(("players", "budget"), [(1, 10), (2, 10), (5, 10), (9, 40), (30, 200)])
def test_players_that_act_alone_get_what_they_bring(players: int, budget: int) -> None:
    brings = np.random.default_rng(1).normal(size=players)
    found = contributions(lambda coalitions: coalitions @ brings, players, budget, np.random.default_rng(0))
    assert found == pytest.approx(brings)


def test_players_that_bring_the_same_twice_share_it() -> None:
    """The whole is full with either of players 0 and 1, so that deleting one alone shows nothing."""
    found = contributions(
        lambda coalitions: coalitions[:, :2].any(axis=1).astype(float), 8, 200, np.random.default_rng(0)
    )
    assert found[:2] == pytest.approx([0.5, 0.5], abs=0.1)
    assert found[2:] == pytest.approx(np.zeros(6), abs=0.05)


def test_players_that_only_work_together_share_it() -> None:
    found = contributions(
        lambda coalitions: coalitions[:, :2].all(axis=1).astype(float), 8, 200, np.random.default_rng(0)
    )
    assert found[:2] == pytest.approx([0.5, 0.5], abs=0.1)
    assert found[2:] == pytest.approx(np.zeros(6), abs=0.05)
