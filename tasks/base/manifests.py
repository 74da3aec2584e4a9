"""What the stages hand to each other: small typed manifests that name files by content.

Every manifest is frozen and serialises to JSON, so that Prefect can persist it; the files it
names lie in the stage's own folder. `content` is a SHA-256 over what the manifest stands for.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Record(BaseModel):
    """A frozen value with a JSON form."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(Record):
    """A measured fraction with its 95 % interval."""

    value: float
    low: float
    high: float


class Table(Record):
    """Rows as read: Parquet with columns text, label, source, line and any extra columns.

    `task` names the kind of task, of `tasks.kinds`, which decides the type of `label`: a string (single), a list of
    strings (multi) or a list of {start, end, label} in code points (tagging).
    """

    path: Path
    task: str
    text_column: str
    label_column: str
    label_separator: str = Field(default="", description="parts several labels in a text; empty where nothing does")
    extra_columns: list[str] = []
    rows_read: int
    rows: int
    quarantined: dict[str, int] = Field(default={}, description="rows by reason")
    quarantine: Path | None = None
    notes: list[str] = Field(default=[], description="what was assumed, such as an encoding")
    content: str


class Checked(Record):
    """A table that passed its expectations; duplicates and conflicts handled by the stated rules."""

    path: Path
    task: str
    rows: int
    classes: dict[str, int]
    duplicates: int = 0
    conflicts: int = 0
    near_equal_classes: list[list[str]] = []
    quarantined: dict[str, int] = {}
    quarantine: Path | None = None
    expectations: list[dict[str, Any]] = []
    data_docs: Path | None = None
    statistics: Path | None = Field(default=None, description="what the next table is compared with, once live")
    notes: list[str] = []
    content: str


class Profile(Record):
    """What the training texts look like; candidates and sizes are derived from it."""

    scripts: dict[str, float] = Field(description="share of letters by Unicode script")
    language: str = Field(description="'en' for English prose, else the main script's name")
    characters: dict[str, float] = Field(description="quantiles 0.5, 0.95, 0.99, 1 of text length")
    tokens: dict[str, float] = Field(description="the same of words, a character each in unspaced scripts")
    total_tokens: int
    imbalance: float = Field(description="largest class over smallest")


class Dataset(Record):
    """The split: Parquet files with columns text, label, target, weight, group and extra columns.

    `target` is int32 (single: index into labels), list<int8> (multi: one 0/1 a label) or the
    spans as in `label` (tagging).
    """

    task: str
    labels: list[str]
    train: Path
    validation: Path
    test: Path
    rows: dict[str, int]
    profile: Profile
    max_length: int = Field(description="tokens kept of a text")
    folds: int = Field(default=0, description="cross-validation folds; 0 for a validation set")
    notes: list[str] = []
    content: str


class Candidate(Record):
    """A trained model: `folder` holds model.keras, model.json and the encoders' files, validation.npy with the
    float32 logits of the validation set and, where it was cross-validated, held_out.npy."""

    name: str
    folder: Path
    score: float = Field(description="the selection metric on the held-out rows, a fraction")
    error: float = Field(description="its standard error")
    metrics: dict[str, float] = {}
    folds: int = Field(default=0, description="folds whose rows were held out; 0 for the validation set")
    scores: list[float] = Field(default=[], description="by seed, where several were tried; `score` is their mean")
    seconds: float
    parameters: int
    size_bytes: int
    latency_ms: float | None = Field(default=None, description="one text, one thread, median")
    settings: dict[str, Any] = {}
    curves: dict[str, list[float]] = Field(default={}, description="figures by epoch")
    content: str


class Selection(Record):
    chosen: Candidate
    reason: str
    candidates: list[Candidate]
    skipped: dict[str, str] = Field(default={}, description="candidates not tried, and why")


class Converted(Record):
    """`folder` is a model folder (model.json, model.onnx, encoders); `saved_model` TensorFlow's format."""

    folder: Path
    saved_model: Path
    parity: dict[str, Any]
    content: str


class Variant(Record):
    name: str = Field(description="float32, int8, float16")
    folder: Path
    size_bytes: int
    accuracy: float
    per_class_recall: dict[str, float]
    latency_ms: dict[str, float] = Field(description="by batch size, one thread, median")
    throughput: dict[str, float] = Field(description="texts a second by batch size")
    moved: float = Field(default=0.0, description="largest change of a score between asked alone and in a batch of 32")
    flipped: int = Field(default=0, description="how many of 1,000 texts get another answer there")
    picked: bool = False
    reason: str = ""


class Optimised(Record):
    picked: Variant
    variants: list[Variant]
    content: str


class Evaluation(Record):
    """The served variant on the untouched test set; `folder` is that variant, calibrated."""

    folder: Path
    metrics: dict[str, Figure]
    per_class: dict[str, dict[str, float]]
    confusion: list[list[int]]
    calibration: dict[str, Any] = Field(description="before, after: error and reliability bins")
    slices: list[dict[str, Any]] = []
    predictions: Path = Field(description="Parquet: text, label, predicted, score, correct")
    label_errors: list[dict[str, Any]] = Field(default=[], description="training rows whose label looks wrong")
    scope: dict[str, Any] = {}
    left_out: dict[str, str] = Field(default={}, description="analyses without a result, and why")
    majority: float = 0.0
    content: str


class Verdict(Record):
    verdict: Literal["passed", "refused", "overridden"]
    reasons: list[str]
    checks: list[dict[str, Any]] = []


class Package(Record):
    """A bento in BentoML's store."""

    tag: str
    path: Path
    size_bytes: int
    content: str


class Deployment(Record):
    tag: str
    url: str
    previous: str | None = None
    moved_from: str | None = Field(default=None, description="host:port where nothing answers any more")
    state: Literal["live", "rolled back", "not deployed"]
    smoke: list[dict[str, Any]] = []
    rollout: list[dict[str, Any]] = Field(default=[], description="figures of each stage of a shadow or canary")
    latency_ms: float | None = None
    content: str = Field(default="", description="of the bento and of how it is served")


def content_of(*parts: object) -> str:
    """SHA-256 over the parts: a path stands for its bytes, or its files' names and bytes; others for `repr`."""
    digest = hashlib.sha256()
    for part in parts:
        for chunk in _bytes_of(part):
            digest.update(len(chunk).to_bytes(8, "big"))
            digest.update(chunk)
    return digest.hexdigest()


def _bytes_of(part: object) -> Iterator[bytes]:
    if isinstance(part, Path) and part.is_dir():
        for file in sorted(entry for entry in part.rglob("*") if entry.is_file()):
            yield file.relative_to(part).as_posix().encode()
            yield from _bytes_of(file)
    elif isinstance(part, Path):
        with part.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                yield chunk
    elif isinstance(part, BaseModel):
        # A manifest's own content, where it has one, not the folder in which the same content came to lie.
        yield (getattr(part, "content", None) or part.model_dump_json()).encode()
    else:
        yield repr(part).encode()
