"""How much a text's answer depends on the other texts of its batch.

Of a graph in float32 it does not, but for rounding. With dynamic quantisation the activations of a whole batch share
one scale, so that each text's scores move a little with the texts beside it.
"""

from collections.abc import Sequence

import numpy as np

from bentos.text_classifier.decoding import Options
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.predictor import by_length

BATCH = 32
MOST_TEXTS = 1000


def moved_by_company(model: TextModel, texts: Sequence[str]) -> tuple[float, int]:
    """Between asked alone and in a batch of 32, as a service makes them: the largest change of a score of the first
    1,000 `texts`, and how many of these get another answer."""
    options = Options(model.decoder.top_k(model.manifest))
    most, other = 0.0, 0
    looked = list(texts[:MOST_TEXTS])
    for start in range(0, len(looked), BATCH):
        batch = looked[start : start + BATCH]
        for group in by_length(batch):
            asked = [batch[index] for index in group]
            together = model.run(model.encode(asked))
            for place, text in enumerate(asked):
                alone = model.run(model.encode([text]))
                # For tagging, positions that only a longer text of the batch has are left out.
                same = together[place : place + 1, : alone.shape[1]]
                most = max(most, float(np.abs(model.scores(alone) - model.scores(same)).max()))
                other += _said(model, alone, options, text) != _said(model, same, options, text)
    return most, other


def _said(model: TextModel, logits: np.ndarray, options: Options, text: str) -> object:
    (answer,) = model.decode(logits, options, [text])
    spans = [(span.start, span.end, span.label) for span in answer.spans or ()]
    return answer.label, [one.label for one in answer.labels or ()], spans
