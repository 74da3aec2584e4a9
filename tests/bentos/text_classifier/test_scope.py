"""Texts unlike the training data are told apart, at the stated rate of false alarms."""

from pathlib import Path

import msgspec
import numpy as np
import pytest

from bentos.text_classifier.encoding import Inputs
from bentos.text_classifier.manifest import Scope, dump, parse
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.scope import ScopeRule, in_scope
from tasks.verdict.scope import fit_scope
from tests.bentos.text_classifier.model_folder import grams_folder
from tests.bentos.text_classifier.travel_desk import requests, trained

ODD = ["", "   ", "\u200b", "\ud800", "a\udfff b", "\x00", "?", "的", "e\u0301", "😀", "word " * 50_000]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return trained(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def scope(model: TextModel) -> Scope:
    assert model.manifest.scope
    return model.manifest.scope


@pytest.mark.parametrize("rate", [0.05, 0.2])
def test_false_alarms_stay_near_the_stated_rate(model: TextModel, rate: float) -> None:
    scope = fit_scope(model, requests(600, 0)[0], requests(400, 1)[0], rate)
    fresh = requests(400, 2)[0]
    alarms = 1.0 - in_scope(scope, model.logits(fresh), fresh).mean()
    assert alarms <= rate + 0.06
    assert scope.false_alarm_rate == rate


@pytest.mark.parametrize(
    "text", ["Der Vertrag wurde gekündigt", "今天天气很好", "SELECT name FROM users WHERE id = 3", "zxqv wkjh", ""]
)
def test_a_text_of_another_kind_is_out_of_scope(model: TextModel, scope: Scope, text: str) -> None:
    assert not in_scope(scope, model.logits([text]), [text])[0]


def test_scores_are_finite_and_do_not_depend_on_the_batch(model: TextModel, scope: Scope) -> None:
    texts = [*ODD, *requests(5, 3)[0]]
    rule = ScopeRule(scope)
    logits = model.logits(texts)
    together = rule.scores(logits, texts)
    assert np.isfinite(together).all()
    alone = [rule.scores(logits[[index]], [text])[0] for index, text in enumerate(texts)]
    assert together == pytest.approx(alone)


def test_a_model_of_positions_leaves_the_judgement_to_the_words(tmp_path: Path) -> None:
    class Positions(TextModel):
        def run(self, inputs: Inputs) -> np.ndarray:
            return np.ones((len(inputs["grams"]), 7, 5), np.float32)

    model = Positions.load(grams_folder(tmp_path))
    scope = fit_scope(model, requests(600, 0)[0], requests(400, 1)[0])
    texts = ["I want to book a hotel in Rome today for me", "今天天气很好"]
    assert in_scope(scope, model.run(model.encode(texts)), texts).tolist() == [True, False]


def test_the_served_model_fills_in_scope_from_its_manifest(model: TextModel) -> None:
    answers = model.predict([requests(1, 4)[0][0], "今天天气很好"])
    assert [answer.in_scope for answer in answers] == [True, False]


def test_without_a_scope_nothing_is_claimed(model: TextModel, tmp_path: Path) -> None:
    assert TextModel.load(grams_folder(tmp_path)).predict(["anything"])[0].in_scope is None


def test_a_scope_survives_the_manifest_and_stays_small(model: TextModel) -> None:
    assert parse(dump(model.manifest)) == model.manifest
    assert len(dump(model.manifest)) < 100_000


def test_few_validation_texts_give_the_largest_score_as_threshold(model: TextModel) -> None:
    few = requests(5, 5)[0]
    scope = fit_scope(model, requests(100, 0)[0], few)
    assert in_scope(scope, model.logits(few), few).all()


def test_an_unknown_method_is_refused(scope: Scope) -> None:
    with pytest.raises(ValueError, match="unknown scope method 'magic'"):
        ScopeRule(msgspec.structs.replace(scope, method="magic"))


def test_texts_of_an_origin_or_a_time_that_was_not_trained_on_are_marked_less_often(model: TextModel) -> None:
    """Each author has words of his own; the last one's are met after the training only."""

    def by(author: int, count: int, seed: int) -> list[str]:
        return [f"{text} zunft{author} quark{author}" for text in requests(count, seed)[0]]

    train = [text for author in range(4) for text in by(author, 150, author)]
    validation = [text for author in range(4) for text in by(author, 100, 10 + author)]
    authors = ([n // 150 for n in range(600)], [n // 100 for n in range(400)])
    days = ([n + 0.5 for n in range(600)], [600 * n / 400 for n in range(400)])
    new = by(9, 300, 20)
    logits = model.logits(new)
    marked = {
        name: 1.0 - in_scope(fit_scope(model, train, validation, parts=parts), logits, new).mean()
        for name, parts in (("at random", None), ("by author", authors), ("by time", days))
    }
    assert marked["at random"] > 0.5
    assert marked["by author"] < 0.15
    assert marked["by time"] < marked["at random"]
