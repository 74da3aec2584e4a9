"""How far answers depend on the other texts of a batch, on a graph that shares a scale and on one that does not."""

from pathlib import Path

import numpy as np

from bentos.text_classifier.encoding import Inputs
from bentos.text_classifier.model import TextModel
from tasks.conversion.company import moved_by_company
from tests.bentos.text_classifier.model_folder import WORDS, grams_folder, sentence

LABELS = list(WORDS)
TEXTS = [sentence(LABELS[row % 3], 1 + row % 4) for row in range(70)]


class Shared(TextModel):
    """Adds to the logits of the first label what the batch's size says, as a shared scale would."""

    by = 0.0

    def run(self, inputs: Inputs) -> np.ndarray:
        logits = super().run(inputs)
        logits[:, 0] += self.by * (len(logits) > 1)
        return logits


def test_a_graph_in_float_answers_alike_alone_and_in_company(tmp_path: Path) -> None:
    moved, flipped = moved_by_company(TextModel.load(grams_folder(tmp_path / "model")), TEXTS)
    assert moved < 1e-5
    assert flipped == 0


def test_what_moves_with_the_batch_is_measured_in_scores_and_answers(tmp_path: Path) -> None:
    model = Shared.load(grams_folder(tmp_path / "model"))
    assert isinstance(model, Shared)
    model.by = 0.05
    moved, flipped = moved_by_company(model, TEXTS)
    assert 0 < moved < 0.02
    assert flipped == 0
    model.by = 100.0
    moved, flipped = moved_by_company(model, TEXTS)
    assert moved > 0.9
    assert 35 < flipped < 56


def test_no_texts_move_nothing(tmp_path: Path) -> None:
    assert moved_by_company(TextModel.load(grams_folder(tmp_path / "model")), []) == (0.0, 0)
