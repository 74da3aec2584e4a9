"""What requests may ask of a model, and what that costs: texts, explanations, bytes of the answer.

Every answer's size is bounded from above by numbers that are known before any work: how many texts, how many labels
for each, how many outputs, how many words that are explained.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from bentos.serving.http.asgi import Cost
from bentos.serving.http.problems import Problem
from bentos.serving.http.wire import encode
from bentos.text_classifier.bodies import ExplainBody, FeedbackBody, PredictBody
from bentos.text_classifier.decoding import Options
from bentos.text_classifier.encoding import token_encoder

if TYPE_CHECKING:
    from bentos.text_classifier.model import TextModel
    from bentos.text_classifier.runtime import Runtime

ONE_TEXT = Cost(texts=1)

_ANSWER = 1024
"""Most bytes of an answer beside its predictions: names of model, version and bento."""
_PREDICTION = 240
"""Most bytes of a prediction beside its labels: its fields' names, score, id and scope."""
_ENTRY = 64
"""Most bytes of an entry of `labels` beside the label: its fields' names and a float64."""
_PART = 112
"""Most bytes of a span or an attribution beside label or text: its fields' names, two places and a float64."""
_ESCAPED = 6
"""Most bytes of a character in JSON: `\\u0000`."""
_LEAST_BUDGET = 20


class AnswerSizes:
    """Upper bounds of the bytes that a model's answers take as JSON."""

    def __init__(self, model: "TextModel", defaults: Options) -> None:
        sizes = sorted((len(encode(label)) for label in model.classes), reverse=True)
        self._longest = max(sizes, default=0)
        self._entries = [0, *accumulate(size + _ENTRY for size in sizes)]
        self._positions = token_encoder(model.encoders).settings.max_length if not model.decoder.about_texts else 0
        self._defaults = defaults
        self._of_defaults = self._bound(defaults)

    def prediction(self, options: Options) -> int:
        """Of one text, spans left out."""
        return self._of_defaults if options is self._defaults else self._bound(options)

    def _bound(self, options: Options) -> int:
        most = len(self._entries) - 1
        count = min(options.top_k, most if options.only is None else len(options.only), most)
        return _PREDICTION + self._longest + self._entries[count]

    def predictions(self, texts: Sequence[str], options: Options) -> int:
        """Of all texts."""
        size = _ANSWER + len(texts) * self.prediction(options)
        if self._positions:
            # A span is a character at least, and a token at least.
            size += sum(min(len(text), self._positions) for text in texts) * (_PART + self._longest)
        return size


def options_of(runtime: "Runtime", asked: PredictBody) -> Options:
    """The request's options over the bento's defaults; raises 422 for a label that is none of the model's."""
    defaults = runtime.defaults
    if asked.top_k is None and asked.threshold is None and asked.labels is None:
        # The very object: requests with equal options are decoded together.
        return defaults
    for index, label in enumerate(asked.labels or ()):
        if label not in runtime.known:
            raise _unknown(f"labels[{index}]")
    return Options(
        top_k=defaults.top_k if asked.top_k is None else asked.top_k,
        threshold=defaults.threshold if asked.threshold is None else asked.threshold,
        only=None if asked.labels is None else frozenset(asked.labels),
    )


def check_texts(runtime: "Runtime", texts: Sequence[str], field: str) -> None:
    """Refuses too many texts and too long ones with 422; `field` names the list."""
    most = runtime.settings.max_texts
    if len(texts) > most:
        raise Problem(422, f"at most {most} texts a request; send the rest in another", field)
    longest = runtime.settings.max_text_characters
    if texts and max(map(len, texts)) > longest:
        index, text = next((index, text) for index, text in enumerate(texts) if len(text) > longest)
        raise _too_long(text, longest, f"{field}[{index}]")


def check_text(runtime: "Runtime", text: str) -> None:
    """Refuses a too long text with 422."""
    longest = runtime.settings.max_text_characters
    if len(text) > longest:
        raise _too_long(text, longest, "text")


def _too_long(text: str, longest: int, field: str) -> Problem:
    return Problem(422, f"{len(text)} characters; at most {longest} can be classified", field)


def of_predict(runtime: "Runtime", asked: PredictBody) -> Cost:
    check_texts(runtime, asked.texts, "texts")
    count = len(asked.texts)
    size = runtime.sizes.predictions(asked.texts, options_of(runtime, asked))
    field = "texts" if asked.top_k is None else "top_k"
    if not asked.explain:
        return Cost(count, 0, size, field)
    settings = runtime.settings
    _check_explainable(runtime, "explain")
    if count > settings.max_explained:
        raise Problem(422, f"at most {settings.max_explained} texts can be explained in a request", "texts")
    size += sum(_attributions(text, settings.explain_budget) for text in asked.texts)
    return Cost(count, count, size, field)


def of_explain(runtime: "Runtime", asked: ExplainBody) -> Cost:
    check_text(runtime, asked.text)
    _check_explainable(runtime, "text")
    if asked.label is not None and asked.label not in runtime.known:
        raise _unknown("label")
    size = runtime.sizes.predictions([asked.text], runtime.defaults)
    return Cost(1, 1, size + _attributions(asked.text, asked.budget or runtime.settings.explain_budget), "text")


def of_feedback(runtime: "Runtime", asked: FeedbackBody) -> Cost:
    check_text(runtime, asked.text)
    return Cost(answer=_ANSWER)


def _check_explainable(runtime: "Runtime", field: str) -> None:
    if not runtime.model.decoder.about_texts:
        reason = "explanations are for models that label whole texts; this one tags parts of them"
        raise Problem(422, reason, field)


def _attributions(text: str, budget: int) -> int:
    """Most bytes: parts are words or runs of words, of which a budget tells fewer apart than its evaluations."""
    return _PART * min(len(text), max(budget, _LEAST_BUDGET)) + _ESCAPED * len(text)


def _unknown(field: str) -> Problem:
    return Problem(422, "not one of the model's labels; GET /model lists them", field)
