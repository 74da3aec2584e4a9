"""Data of any kind of task, small structures trained on it, and what every structure and kind must keep to."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bentos.text_classifier.decoding import Options, Prediction
from bentos.text_classifier.encoding import token_encoder
from bentos.text_classifier.explain import ExplanationError, explain
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.text import clean
from tasks.base.manifests import Candidate, Converted, Dataset
from tasks.base.settings import DataSettings, PrivacySettings, SourceSettings, TrainSettings
from tasks.conversion.convert import convert, load_keras, serving_function
from tasks.data.ingest import ingest
from tasks.data.preprocess import preprocess
from tasks.data.validate import validate
from tasks.kinds.registry import KINDS
from tasks.learning.job import Job
from tasks.models.architectures import architectures, is_private
from tests.tasks.toy import COMMON, TOPICS

SEED = 3
UNSEEN = "\U000107a0\U000107a1 ༄༅ \U000107a2\u200b"
TINY: dict[str, Any] = {
    "width": 16,
    "filters": 8,
    "windows": (1, 2),
    "units": 8,
    "hidden": 16,
    "heads": 2,
    "blocks": 1,
    "vocabulary": 150,
    "words": (1, 1),
    "characters": (2, 3),
    "buckets": 1024,
    "c": (1.0,),
    "weights": ((1.4, 1.4),),
}
"""Of every structure that has a hyper-parameter of the name."""


@dataclass(frozen=True)
class Mark:
    """A word that stands for a label, with its place in the text."""

    start: int
    end: int
    label: str

    def as_span(self) -> dict[str, object]:
        return {"start": self.start, "end": self.end, "label": self.label}


Written = Callable[[list[Mark]], Any]
"""What a source's label column holds for a text with these marks, in their order; at least one."""

WRITTEN: dict[str, Written] = {
    "single": lambda marks: marks[0].label,
    "multi": lambda marks: sorted({mark.label for mark in marks}),
    "tagging": lambda marks: [mark.as_span() for mark in marks],
}


def make_dataset(folder: Path, task: str, written: Written, classes: Sequence[str] = (), rows: int = 60) -> Dataset:
    """Texts of 1 to 24 words from a file to a split; of `classes`, each in turn, or of the toy topics."""
    random = np.random.default_rng(SEED)
    words = {name: [name] for name in classes} or TOPICS
    names = list(words)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "rows.jsonl").open("w", encoding="utf-8") as stream:
        for row in range(rows):
            text, marks = f"{row}", []
            others = random.integers(len(names), size=random.integers(0, 3)).tolist()
            for label in [names[row % len(names)], *(names[other] for other in others)]:
                text += " " + " ".join(random.choice(COMMON, random.integers(1, 8)).tolist())
                word = str(random.choice(words[label]))
                marks.append(Mark(len(text) + 1, len(text) + 1 + len(word), label))
                text += f" {word}"
            stream.write(json.dumps({"text": text, "label": written(marks)}) + "\n")
    made = [folder / name for name in ("ingest", "validate", "preprocess")]
    for path in made:
        path.mkdir()
    table = ingest(SourceSettings(source=str(folder / "rows.jsonl"), task=task), made[0], SEED)
    checked = validate(table, DataSettings(), made[1])
    return preprocess(checked, None, None, DataSettings(), TrainSettings(), SEED, made[2])


@dataclass(frozen=True)
class Trained:
    """A structure that took a step on a data set, was saved (the function `saved` of `inputs`) and converted."""

    dataset: Dataset
    candidate: Candidate
    converted: Converted
    model: TextModel
    inputs: list[str]
    saved: Any


def train(name: str, dataset: Dataset, pretrained: Path, folder: Path) -> Trained:
    """One epoch of at most two steps. `convert` refuses a graph that does not answer as the saved model does."""
    settings = TrainSettings(
        epochs=1,
        batch_size=512,
        pretrained=str(pretrained),
        privacy=PrivacySettings(epsilon=5.0 if is_private(name) else None),
    )
    candidate = architectures()[name].fit(Job(dataset, folder / "model", settings, "quick", SEED, dict(TINY)))
    converted = convert(candidate, dataset, folder / "converted")
    loaded: Any = load_keras(candidate.folder)
    inputs = [entry.name for entry in loaded.inputs]
    model = TextModel.load(converted.folder)
    return Trained(dataset, candidate, converted, model, inputs, serving_function(loaded))


def agrees(trained: Trained, texts: list[str]) -> None:
    """The saved Keras model and the served one give a text the same logits, alone and in company."""
    model = trained.model
    together = model.logits(texts)
    assert np.isfinite(together).all()
    for row, text in enumerate(texts):
        inputs = model.encode([text])
        alone = model.run(inputs)[0]
        saved = trained.saved(*(inputs[name] for name in trained.inputs))["logits"].numpy()[0]
        if not KINDS[trained.dataset.task].pooled:
            # What is said of padding means nothing.
            positions = len(token_encoder(model.encoders).offsets([text])[0])
            alone, saved = alone[:positions], saved[:positions]
        np.testing.assert_allclose(together[row][: len(alone)], alone, atol=1e-4)
        np.testing.assert_allclose(saved, alone, atol=1e-4)


def answers(trained: Trained, texts: list[str]) -> None:
    """A prediction names classes of the data set, with scores that are probabilities, and parts of its text."""
    model, kind = trained.model, KINDS[trained.dataset.task]
    assert model.classes == trained.dataset.labels
    predictions = model.predict(texts, Options(top_k=len(model.classes)))
    assert len(predictions) == len(texts)
    for text, prediction in zip(texts, predictions, strict=True):
        label, score = kind.answer(prediction)
        assert set(kind.names(label)) <= set(model.classes)
        assert 0.0 <= score <= 1.0
        scores = [one.score for one in prediction.labels]
        assert scores == sorted(scores, reverse=True)
        assert _ends(prediction) <= len(clean(text))


def _ends(prediction: Prediction) -> int:
    return max((span.end for span in prediction.spans or [] if 0 <= span.start < span.end), default=0)


def explains(trained: Trained, texts: list[str]) -> None:
    """What words add sums to what all of them add; of answers about parts of a text there is nothing to explain."""
    model = trained.model
    for text in texts:
        if not model.decoder.about_texts:
            with pytest.raises(ExplanationError, match="label whole texts"):
                explain(model, text, budget=20)
            continue
        found = explain(model, text, model.classes[0], budget=20)
        assert all(text[one.start : one.end] == one.text for one in found)
        bare = "".join(character for character in text if character.isspace()) if found else text
        both = model.scores(model.logits([text, bare]))[:, 0]
        assert sum(one.weight for one in found) == pytest.approx(float(both[0] - both[1]), abs=1e-3)
