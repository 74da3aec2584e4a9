"""What requests may hold and what answers hold."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from bentos.serving.service import ModelIdentity
from bentos.text_classifier.decoding import Answer, Prediction
from bentos.text_classifier.explain import Attribution

TopK = Annotated[int, Meta(ge=1, le=100_000, description="labels at most, best first; 1 when not given, or all that pass in a multi-label model")]  # fmt: skip  # noqa: E501
Threshold = Annotated[float, Meta(ge=0, le=1, description="labels with a lower score are left out of `labels`")]
OnlyLabels = Annotated[list[str], Meta(min_length=1, description="only these labels in `labels`")]
Label = Annotated[str, Meta(max_length=1000)]


class PredictBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    texts: list[str]
    top_k: TopK | None = None
    threshold: Threshold | None = None
    labels: OnlyLabels | None = None
    explain: Annotated[bool, Meta(description="add the words' contributions to each prediction")] = False


class ExplainBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str
    label: Annotated[str | None, Meta(description="the label to explain; the best one when not given")] = None
    budget: Annotated[int, Meta(ge=20, le=2000, description="model evaluations at most")] | None = None


class FeedbackBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Annotated[str, Meta(min_length=1, max_length=128, description="of the prediction that is put right")]
    text: str
    label: Annotated[
        Label | Annotated[list[Label], Meta(max_length=1000)], Meta(description="the right label or labels")
    ]


class ExplainedPrediction(Prediction, kw_only=True):
    """A prediction with what each of the text's words adds to its score, where that was asked for."""

    attributions: list[Attribution] | msgspec.UnsetType = msgspec.UNSET


class PredictAnswer(msgspec.Struct):
    predictions: list[ExplainedPrediction]
    model: ModelIdentity


class ExplainAnswer(msgspec.Struct):
    """`attributions` in text order; `start` and `end` are code points of the text as it was sent."""

    id: str
    label: str
    score: float
    attributions: list[Attribution]
    model: ModelIdentity


class FeedbackAnswer(msgspec.Struct):
    id: str
    stored: bool


class ModelCard(msgspec.Struct):
    """What serves, what it knows, how good it is and where it comes from."""

    bento: str
    name: str
    version: str
    task: Annotated[str, Meta(description="the kind of task")]
    answer: Annotated[Answer, Meta(description="the field of a prediction that holds the whole answer")]
    architecture: str
    labels: list[str]
    thresholds: list[float] | None
    metrics: dict[str, Any]
    scope: dict[str, Any] | None
    lineage: dict[str, str]
    provider: Annotated[str, Meta(description="ONNX Runtime's execution provider that is really in use")]
    limits: dict[str, int]
    card: Annotated[str, Meta(description="the whole model card, Markdown")] = ""
