"""Made-up requests to a travel desk, and a model trained on them that knows what is none."""

from pathlib import Path

import msgspec
import numpy as np

from benchmarks.linear_model import write_linear_model
from bentos.serving.model_folder import CARD, MANIFEST
from bentos.text_classifier.manifest import dump
from bentos.text_classifier.model import TextModel
from tasks.verdict.scope import fit_scope

VERBS = {
    "hotel": ["book", "reserve", "find"],
    "train": ["ride", "board", "take"],
    "museum": ["visit", "see", "enter"],
}


MODEL_CARD = """# Model card: travel desk

| | |
|---|---|
| Model | linear |

## Limits

- It knows **three** labels, as in `hotel`.
"""


def requests(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts and their labels."""
    generator = np.random.default_rng(seed)
    texts, labels = [], []
    for label in generator.choice(list(VERBS), count).tolist():
        verb = generator.choice(VERBS[label])
        place = generator.choice(["Paris", "Rome", "Vienna", "Oslo", "Madrid"])
        when = generator.choice(["today", "tomorrow", "next week", "on Friday", "in June"])
        people = generator.choice(["me", "two people", "my family", "a colleague"])
        texts.append(f"I want to {verb} a {label} in {place} {when} for {people}")
        labels.append(label)
    return texts, labels


def model_folder(folder: Path) -> Path:
    """Writes a model folder with a scope rule."""
    texts, labels = requests(600, 0)
    figures = {"accuracy": {"value": 0.981, "low": 0.962, "high": 0.993}, "macro_f1": 0.979}
    lineage = {"data": "0123456789abcdef" * 4, "model": "fedcba9876543210" * 4}
    model = write_linear_model(
        folder, texts, labels, name="travel_desk", version="20260102-030405", architecture="linear",
        metrics=figures, lineage=lineage,
    )  # fmt: skip
    (folder / CARD).write_text(MODEL_CARD)
    scope = fit_scope(model, texts, requests(300, 1)[0])
    (folder / MANIFEST).write_bytes(dump(msgspec.structs.replace(model.manifest, scope=scope)))
    return folder


def trained(folder: Path) -> TextModel:
    """The model of `model_folder`, opened."""
    return TextModel.load(model_folder(folder))
