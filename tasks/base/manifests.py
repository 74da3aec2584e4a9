"""What the stages hand to each other: small typed manifests that name files by content.

Every manifest is frozen and serialises to JSON, so that Prefect can persist it; the files it
names lie in the stage's own folder. `content` is a SHA-256 over what the manifest stands for.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
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

    scripts: dict[str, float] = Field(description="share of texts by Unicode script")
    languages: dict[str, float] = Field(default={}, description="share of texts by language, else by script")
    language: str = Field(description="the main one; with `+` each further one of more than 5 % of the texts")
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
    made_of: str = Field(default="", description="content of its model, code and policy, see `release.package`")
    content: str


class Deployment(Record):
    tag: str
    url: str
    previous: str | None = None
    moved_from: str | None = Field(default=None, description="host:port where nothing answers any more")
    state: Literal["live", "unchanged", "rolled back", "not deployed"]
    smoke: list[dict[str, Any]] = []
    rollout: list[dict[str, Any]] = Field(default=[], description="figures of each stage of a shadow or canary")
    latency_ms: float | None = None
    content: str = Field(default="", description="of the bento and of how it is served")


class Local:
    """Marks a setting, as in `Annotated[str, Local()]`, that may name a file or folder here: what lies there counts."""


def content_of(*parts: object) -> str:
    """SHA-256 over the parts, each by its kind and value; parts that are equal by value have one content.

    A path stands for its bytes, a folder for its files' names and bytes. A manifest stands for every field but its
    paths: its own `content` stands for those, and where it has none their bytes do. Other models, data classes,
    mappings and sequences are taken field by field and item by item; a list and a tuple are the same.

    Raises:
        TypeError: a part has no value that could be told, such as a function or an array; nothing is guessed.
        FileNotFoundError: there is nothing at a path.
    """
    return _joined("parts", map(_digest, parts)).hex()


def _joined(kind: str, pieces: Iterable[bytes]) -> bytes:
    """One digest: the kind goes first and every piece with its length, so that no two inputs read alike."""
    digest = hashlib.sha256(kind.encode() + b"\0")
    for piece in pieces:
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)
    return digest.digest()


def _digest(part: object) -> bytes:
    match part:
        case None | bool() | bytes():
            return _joined("constant", [repr(part).encode()])
        case int() | float() | str():
            # A value that JSON has given back is the same as before, be it of a subclass.
            kind = next(one for one in (int, float, str) if isinstance(part, one))
            return _joined(kind.__name__, [repr(kind(part)).encode()])
        case Path() if part.is_dir():
            files = sorted(entry for entry in part.rglob("*") if entry.is_file())
            return _joined("folder", _flat((file.relative_to(part).as_posix(), file) for file in files))
        case Path():
            with part.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").digest()
        case BaseModel():
            return _joined(type(part).__name__, _flat(_fields(part)))
        case Mapping():
            return _joined("mapping", sorted(_joined("item", _flat([item])) for item in part.items()))
        case list() | tuple():
            return _joined("sequence", map(_digest, part))
        case msgspec.Struct():
            return _joined(type(part).__name__, _flat(msgspec.structs.asdict(part).items()))
        case _ if is_dataclass(part) and not isinstance(part, type):
            return _joined(type(part).__name__, _flat((one.name, getattr(part, one.name)) for one in fields(part)))
    raise TypeError(f"a {type(part).__name__} has no content: {part!r:.100}")


def _flat(pairs: Iterable[tuple[object, object]]) -> Iterator[bytes]:
    return (_digest(one) for pair in pairs for one in pair)


def _fields(model: BaseModel) -> Iterator[tuple[str, object]]:
    stood_for = bool(getattr(model, "content", None))
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, Path) and stood_for:
            continue
        yield name, value
        if any(isinstance(mark, Local) for mark in field.metadata) and value is not None and Path(value).exists():
            yield f"at {name}", Path(value)
