"""`model.json`: what a model folder holds and how its scores become answers."""

from typing import Any, Literal

import msgspec

GRAPH = "model.onnx"


class TokenSettings(msgspec.Struct, frozen=True, tag="tokens", tag_field="kind"):
    """A sub-word encoder: a Hugging Face `tokenizer.json` beside the manifest.

    It gives the graph input `name`, int32 [texts, longest text of the batch].
    """

    name: str
    file: str
    max_length: int
    pad_id: int = 0
    prefix: str = ""


class GramSettings(msgspec.Struct, frozen=True, tag="grams", tag_field="kind"):
    """A bag of word and character n-grams: a vocabulary file beside the manifest.

    It gives the graph inputs `name`, int32 [texts, most n-grams of the batch], 0 standing for
    padding, and `name`_weights, float32 of the same shape, 0 at padding.
    """

    name: str
    file: str
    words: tuple[int, int] | None = (1, 2)
    characters: tuple[int, int] | None = None
    weighting: Literal["tfidf", "mean"] = "tfidf"


class HashedGramSettings(msgspec.Struct, frozen=True, tag="hashed_grams", tag_field="kind"):
    """A bag of word and character n-grams by hash, which nothing was learned for: it has no file.

    It gives the same graph inputs as `GramSettings`, with ids up to `buckets`.
    """

    name: str
    buckets: int
    words: tuple[int, int] | None = (1, 2)
    characters: tuple[int, int] | None = None
    file: str = ""


EncoderSettings = TokenSettings | GramSettings | HashedGramSettings


class Privacy(msgspec.Struct, frozen=True):
    """How a model was trained with differential privacy; see docs/security.md for what that covers.

    `noise` is the noise multiplier: the noise's deviation over `clip`, the largest norm of one row's gradient.
    Each of the `steps` took every row with the probability `rate`.
    """

    epsilon: float
    delta: float
    noise: float
    clip: float
    rate: float
    steps: int


class Scope(msgspec.Struct, frozen=True):
    """When a text counts as unlike the training data; see `scope.py` for the score's meaning."""

    method: str
    threshold: float
    false_alarm_rate: float
    parameters: dict[str, Any] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything beside the graph and the encoders' files that an answer depends on.

    `task` is the kind of task, one of `decoding.DECODERS`.
    `labels` stand in the order of the graph's logits. `temperature` divides the logits before
    softmax (single, tagging) or sigmoid (multi); before that, `exponent` bends their distances d
    from the largest one to ((1 + d)^exponent - 1) / exponent (single). `thresholds`, one a label, decide which labels a
    multi-label answer holds. A model with `privacy` has no `scope`, which would hold its training
    texts' n-grams. `lineage` ties data, code, model and bento together by content hash.
    """

    format: int = 1
    name: str = "text_classifier"
    version: str = ""
    task: str = "single"
    architecture: str = ""
    labels: list[str]
    encoders: list[EncoderSettings]
    temperature: float = 1.0
    exponent: float = 1.0
    thresholds: list[float] | None = None
    scope: Scope | None = None
    privacy: Privacy | None = None
    metrics: dict[str, Any] = {}
    lineage: dict[str, str] = {}


def dump(manifest: Manifest) -> bytes:
    """The manifest as the indented JSON text of `model.json`."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def parse(text: bytes) -> Manifest:
    """The manifest in the JSON `text`; raises `msgspec.ValidationError` naming a wrong field."""
    return msgspec.json.decode(text, type=Manifest)
