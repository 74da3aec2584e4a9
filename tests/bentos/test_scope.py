"""Texts unlike the training data are told apart, at the stated rate of false alarms."""

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.linear_model import write_linear_model
from bentos.text_classifier.manifest import MANIFEST, dump, parse
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.scope import fit_scope, in_scope

ODD = ["", "   ", "\u200b", "\ud800", "a\udfff b", "\x00", "?", "的", "e\u0301", "😀"]


@dataclass
class Trained:
    folder: Path
    model: TextModel
    train: list[str]
    validation: list[str]


def travel(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Made-up requests to a travel desk, with their labels."""
    generator = np.random.default_rng(seed)
    verbs = {"train": ["ride", "board", "take"], "hotel": ["book", "reserve", "stay in"]}
    texts, labels = [], []
    for label in generator.choice(list(verbs), count):
        verb = generator.choice(verbs[label])
        place = generator.choice(["Paris", "Rome", "Vienna", "Oslo", "Madrid"])
        when = generator.choice(["today", "tomorrow", "next week", "on Friday", "in June"])
        people = generator.choice(["me", "two people", "my family", "a colleague"])
        texts.append(f"I want to {verb} a {label} in {place} {when} for {people}")
        labels.append(str(label))
    return texts, labels


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("model")
    texts, labels = travel(600, 0)
    return Trained(folder, write_linear_model(folder, texts, labels), texts, travel(400, 1)[0])


def test_false_alarms_stay_near_the_stated_rate(trained: Trained) -> None:
    scope = fit_scope(trained.model, trained.train, trained.validation, false_alarm_rate=0.1)
    fresh = travel(400, 2)[0]
    alarms = 1.0 - in_scope(scope, trained.model.logits(fresh), fresh).mean()
    assert alarms <= 0.16


@pytest.mark.parametrize(
    "text", ["Der Vertrag wurde gekündigt", "今天天气很好", "SELECT name FROM users WHERE id = 3", "zxqv wkjh"]
)
def test_a_text_of_another_kind_is_out_of_scope(trained: Trained, text: str) -> None:
    scope = fit_scope(trained.model, trained.train, trained.validation)
    assert not in_scope(scope, trained.model.logits([text]), [text])[0]


def test_odd_texts_get_an_answer(trained: Trained) -> None:
    scope = fit_scope(trained.model, trained.train, trained.validation)
    assert in_scope(scope, trained.model.logits(ODD), ODD).dtype == bool


def test_the_served_model_fills_in_scope_from_its_manifest(trained: Trained, tmp_path: Path) -> None:
    scope = fit_scope(trained.model, trained.train, trained.validation)
    manifest = msgspec.structs.replace(trained.model.manifest, scope=scope)
    assert parse(dump(manifest)) == manifest
    for file in trained.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / MANIFEST).write_bytes(dump(manifest))
    answers = TextModel.load(tmp_path).predict([trained.validation[0], "今天天气很好"])
    assert [answer.in_scope for answer in answers] == [True, False]


def test_without_a_scope_nothing_is_claimed(trained: Trained) -> None:
    assert trained.model.predict(["anything"])[0].in_scope is None
