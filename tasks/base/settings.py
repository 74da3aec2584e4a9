"""Every setting of the stages, each with its default here and nowhere else.

A stage takes the one group it needs. `flows/config.py` composes the groups into a flow's typed
parameters, from which the Prefect form, the command line and a deployment's YAML are drawn.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from tasks.base.manifests import Local

Effort = Literal["quick", "standard", "thorough"]


class Settings(BaseModel):
    """A group of settings; unknown names are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def _absolute_source(source: str | None) -> str | None:
    # Workers run elsewhere than the command in which the path was typed.
    if source and source.startswith("file:"):
        return f"file:{Path(source.removeprefix('file:')).absolute()}"
    return source


KeySource = Annotated[str, AfterValidator(_absolute_source)]
"""Where a key comes from: file:PATH, env:NAME, or a key service's SCHEME:REST."""


class SourceSettings(Settings):
    """Where the rows come from."""

    source: str = Field(default="docstrings", min_length=1)
    """A file, folder, glob, `-`, fsspec or SQLAlchemy URL, or `docstrings`, the embedded default."""
    query: str | None = None
    """The SQL query when the source is a database."""
    data_key: KeySource | None = None
    """Source of the key that opens sealed files; what MODEL_SERVICE_DATA_KEY names when not given."""
    encoding: str | None = None
    """Encoding of text files, such as cp1252; told by their content when not given."""
    sheet: str | None = None
    """Name of the sheet to read of a workbook; the first one with rows when not given."""
    text_column: str | None = None
    """Found by its usual names when not given."""
    label_column: str | None = None
    """Found by its usual names when not given."""
    extra_columns: tuple[str, ...] = ()
    """Further columns to keep, for slices of the evaluation."""
    task: str = "auto"
    """The kind of task, such as `single`, `multi` or `tagging`; found from the label column when `auto`."""
    label_separator: str | None = None
    """Separates labels in a multi-label text column; found among `|`, `;` and `,` when not given."""
    rows: int | None = Field(default=None, gt=0)
    """At most so many rows, drawn evenly by seed; the embedded source takes 8,000."""
    memory: str = "2GB"
    """Working memory of the reader; larger inputs spill to disk."""


class DataSettings(Settings):
    """When data is good enough to train on, and how it is split."""

    quarantine_share: float = Field(default=0.10, ge=0, le=1)
    """The run stops when a larger share of the rows is bad."""
    blank_share: float = Field(default=0.05, ge=0, le=1)
    """The run stops when a larger share of texts is blank."""
    min_rows: int = Field(default=20, ge=2)
    """The run stops with fewer usable rows."""
    rare_classes: Literal["drop", "refuse"] = "drop"
    """What happens to a class with fewer than `min_class_rows` rows; the classes are named either way."""
    min_class_rows: int = Field(default=3, ge=1)
    """A class needs a row in each of training, validation and test set."""
    conflicts: Literal["majority", "drop", "keep"] = "majority"
    """What happens to one text under several labels; a tie under `majority` drops the text."""
    max_text_characters: int = Field(default=100_000, gt=0)
    """Longer texts are quarantined."""
    validation_share: float = Field(default=0.10, gt=0, lt=0.5)
    """Share of the rows in the validation set, which models are chosen and calibrated by."""
    test_share: float = Field(default=0.15, gt=0, lt=0.5)
    """Share of the rows in the test set, kept untouched until the end, when no test source is given."""
    held_out_rows: int = Field(default=100_000, gt=0)
    """About the most rows in either of the two. At that size an accuracy of 90 % has a standard error of 0.1 points;
    every further row costs time, because every variant answers it."""
    refit: bool | None = None
    """Train the chosen model again on training and validation rows together. When not set: where the effort's time
    allows it, unless the validation rows have a source of their own."""
    accept_changes: bool = False
    """Take classes that vanished, and lengths and scripts unlike last time's, as the new normal."""
    memory: str = "1GB"
    """Working memory of validation and splitting; larger tables spill to disk."""
    personal_data: Literal["keep", "mask", "hash", "drop"] = "keep"
    """What happens to e-mail addresses, telephone, card and identity numbers, wherever texts are kept."""
    person_names: str | None = None
    """spaCy model (name or folder) by which presidio-analyzer finds people's names in training data too; names stay
    when not given."""

    @model_validator(mode="after")
    def _names_with_a_policy(self) -> "DataSettings":
        if self.person_names is not None and self.personal_data == "keep":
            raise ValueError("data.person_names asks for data.personal_data mask, hash or drop")
        return self


class PrivacySettings(Settings):
    """Differentially private training; off while `epsilon` is not set. What it covers stands in docs/security.md."""

    epsilon: float | None = Field(default=None, gt=0)
    """Privacy budget of one run: how much one training row may change the probability of any model, as a logarithm."""
    delta: float | None = Field(default=None, gt=0, lt=1)
    """Probability that the bound of epsilon fails; 1 / (training rows) to the power 1.1 when not given."""
    clip: float = Field(default=1.0, gt=0)
    """Largest Euclidean norm of one row's gradient; features have length one."""


class TrainSettings(Settings):
    """How models are trained and chosen; what is not set is derived from the effort and the data."""

    candidates: tuple[str, ...] = ()
    """Names of architectures, of `ensemble` and `student`, with commas between them; by effort, language and size when
    empty."""
    pretrained: Annotated[str, Local()] = "auto"
    """`minilm` or `multilingual` (the packaged encoders; `auto` is the first for English, the second for the rest),
    a folder in Hugging Face's format, or hf://name."""
    epochs: int | None = Field(default=None, gt=0)
    """Most passes over the data."""
    batch_size: int | None = Field(default=None, gt=0)
    """Examples a step."""
    learning_rate: float | None = Field(default=None, gt=0)
    """Peak of the schedule."""
    max_length: int | None = Field(default=None, gt=0)
    """Tokens kept of a text; from the data when not set."""
    metric: str | None = None
    """What candidates are compared by: accuracy, or for multi-label micro_f1 and for tagging span_f1."""
    hyper: dict[str, dict[str, Any]] = {}
    """Hyper-parameters set by hand, by model structure: {"cnn": {"width": 256}}."""
    seconds: float | None = Field(default=None, gt=0)
    """Time for all trainings together; from the effort and the words of the data when not set."""
    target: float | None = Field(default=None, gt=0, le=1)
    """Stop training once the metric reaches this on the validation set."""
    class_weights: Literal["auto", "none", "balanced"] = "auto"
    """`balanced` makes classes count alike, or presence and absence of a label, or tags; `auto` does so for single
    labels when the largest class is ten times the smallest."""
    loss: Literal["cross_entropy", "focal", "logit_adjusted"] = "cross_entropy"
    """Loss of the neural models."""
    folds: int | None = Field(default=None, ge=0)
    """Cross-validation folds; 0 for one validation set; decided by the number of rows when not set."""
    trials: int | None = Field(default=None, ge=0)
    """Trainings of each candidate to search its hyper-parameters. When not set: with effort thorough as many as its
    time allows, else none."""
    seeds: int | None = Field(default=None, ge=1, le=10)
    """Seeds to train with where held-out rows do not tell a candidate from the best; mean scores are then compared.
    When not set: up to 3 with effort standard and thorough, as time is left."""
    unlabelled: str | None = None
    """A source of further texts without labels for distillation."""
    mixed_precision: Literal["auto", "on", "off"] = "auto"
    """bfloat16 compute with float32 weights; `auto` is on for a GPU that has it (compute capability 8.0)."""
    xla: Literal["auto", "on", "off"] = "auto"
    """XLA compilation; `auto` is on for a GPU."""
    strategy: Literal["auto", "one", "mirrored", "multi_worker"] = "auto"
    """How training is shared out over devices (tf.distribute); `auto` mirrors over several GPUs."""
    privacy: PrivacySettings = PrivacySettings()
    """Differentially private training."""

    @model_validator(mode="after")
    def _one_private_training(self) -> "TrainSettings":
        again = {
            "candidates": len(self.candidates) > 1,
            "folds": self.folds,
            "trials": self.trials,
            "seeds": (self.seeds or 1) > 1,
            "unlabelled": self.unlabelled,
        }
        if self.privacy.epsilon is not None and (set_too := [name for name, value in again.items() if value]):
            raise ValueError(
                f"train.privacy.epsilon is the budget of one training, and train.{set_too[0]} asks for more of them; "
                "leave one of both out" + (" or name one candidate" if set_too[0] == "candidates" else "")
            )
        return self


class GateSettings(Settings):
    """What a model must show before it is served."""

    min_recall: float = Field(default=0.2, ge=0, le=1)
    """Lowest recall of every class with at least 20 test rows."""
    min_accuracy: float | None = Field(default=None, ge=0, le=1)
    """Lowest test accuracy."""
    behaviour: Path | None = None
    """CSV with columns text, label: texts that must keep their label."""
    significance: float = Field(default=0.05, gt=0, lt=1)
    """Level of the tests against chance, the majority class and the live champion."""


class Budget(Settings):
    """What the served model may cost."""

    max_latency_ms: float | None = Field(default=None, gt=0)
    """Milliseconds for one text on one thread, the encoding included."""
    max_size_mb: float | None = Field(default=None, gt=0)
    """Megabytes of the model folder."""


class OptimiseSettings(Settings):
    """Which variants are made of the converted model, and what may be lost."""

    variants: tuple[Literal["float32", "int8", "float16"], ...] = ("float32", "int8")
    """float16 is added where a GPU serves."""
    max_accuracy_loss: float = Field(default=0.003, ge=0)
    """A smaller variant that loses more, as a fraction and beyond its standard error, is not picked."""
    max_recall_loss: float = Field(default=0.05, ge=0)
    """The same for the recall of any class with at least 20 rows."""


class RolloutSettings(Settings):
    """How a new version takes over the traffic; `supervisor/judgement.py` states the rule of shadow and canary."""

    mode: Literal["swap", "shadow", "canary"] = "swap"
    """`swap`: at once. `shadow`: after it answered a copy of the traffic. `canary`: after growing shares of it."""
    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (0.05, 0.25)
    """Shares of the requests that a canary answers, one after the other; then it gets all."""
    shadow_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the requests that a shadow gets a copy of."""
    requests: int = Field(default=200, gt=0)
    """Requests that a stage needs before the next one."""
    minutes: float = Field(default=30, gt=0)
    """Longest time for a stage; a version that had too few requests by then is withdrawn."""
    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Chance that a stage withdraws a version that is no worse, over all its looks and tests together."""
    max_slowdown: float = Field(default=2.0, ge=1)
    """Most requests may take this many times the live version's latency, and 20 ms for the way."""
    max_disagreement: float = Field(default=0.5, ge=0, le=1)
    """Share of texts that may get another label than from the live version."""
    watch_minutes: float = Field(default=2, ge=0)
    """How long the version before stands by after a swap: it answers what the new one fails, and comes back
    when that fails too often."""


class ServeSettings(Settings):
    """Where and with what the model is served."""

    host: str | None = Field(default=None, min_length=1)
    """Other addresses than loopback need authentication; when not given that of the live version, else 127.0.0.1."""
    port: int | None = Field(default=None, ge=0, le=65535)
    """TCP port, 0 for any; when not given that of the live version, else 3000. Another one moves the service."""
    workers: int | None = Field(default=None, gt=0)
    """Serving processes; with threads at most the CPUs that may be used."""
    threads: int | None = Field(default=None, gt=0)
    """ONNX Runtime threads a worker."""
    cpu: float | None = Field(default=None, gt=0)
    """CPUs asked of the platform for the bento."""
    memory: str = Field(default="1Gi", pattern=r"^\d+(\.\d+)?([KMGTP]i?|k)?$")
    """Memory asked of the platform for the bento, as Kubernetes writes it: 512Mi, 2Gi."""
    gpu: int = Field(default=0, ge=0)
    """GPUs asked of the platform; above 0 the CUDA provider serves."""
    strict_gpu: bool = False
    """Fail when CUDA was asked for and is not there, instead of a loud warning."""
    max_queue: int = Field(default=256, gt=0)
    """Requests that may wait; beyond it the answer is 429."""
    max_texts: int = Field(default=1024, gt=0)
    """Texts a request."""
    max_body_mb: float = Field(default=8, gt=0)
    """Size of a request."""
    prediction_share: float = Field(default=1.0, ge=0, le=1)
    """Share of the predictions that are recorded for watching; of a long burst less."""
    store_texts: bool = False
    """Record predictions with their text; with a keyed hash and statistics of it alone when not set."""
    personal_data: Literal["keep", "mask", "hash", "drop"] | None = None
    """What happens to it in recorded texts; as `data.personal_data` says when not set."""
    smoke_latency_ms: float = Field(default=1000, gt=0)
    """The smoke test's bound for one text."""
    retain: int = Field(default=5, ge=2)
    """Versions kept; the live and the last good one are never removed."""
    rollout: RolloutSettings = RolloutSettings()
    """How a new version takes over the traffic."""


class WatchSettings(Settings):
    """When live traffic counts as unlike the data that the live version was accepted on."""

    alpha: float = Field(default=0.001, gt=0, lt=0.5)
    """Chance that one look at unchanged traffic raises a false alarm, over all statistics together."""
    min_rows: int = Field(default=100, ge=10)
    """With fewer different texts the answer is `too few`."""


class FeedbackSettings(Settings):
    """How feedback becomes training rows, and how much of it one client, or all, may bring in."""

    use: bool = True
    """Join feedback to the training rows of a retrain."""
    weight: float = Field(default=1.0, gt=0)
    """Weight of a feedback row in training; other rows have 1."""
    per_client_a_day: int = Field(default=100, gt=0)
    """Rows of one client and day that are looked at."""
    share: float = Field(default=0.1, ge=0, le=1)
    """Most rows that join, as a share of the training rows."""
    client_share: float = Field(default=0.5, gt=0, le=1)
    """Most of those that come from one client alone."""
    min_clients: int = Field(default=1, gt=0)
    """Different clients that must say the same of a text."""


class SigstoreSettings(Settings):
    """Who signs, as a certificate of sigstore says it."""

    identity: str = Field(min_length=1)
    """E-mail address, or URL of a workflow."""
    issuer: str = Field(min_length=1)
    """Who vouches for the identity (OpenID Connect), such as https://accounts.google.com."""
    trust: Path | None = None
    """Trust configuration (JSON) of a sigstore of one's own; the public one when not given, which must be reached."""

    @field_validator("trust")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path and path.absolute()


class SecuritySettings(Settings):
    """What protects the model and the service; each part is off until it is named, see docs/security.md."""

    encrypt: KeySource | None = None
    """Source of the 256-bit key that seals the model in the bento: file:PATH, env:NAME, or a key service's."""
    sign: Path | None = None
    """Private key (PEM, NIST curve) that signs the bento; its public half is written beside it as NAME.pub."""
    verify: Path | None = None
    """Public key (PEM) that every bento must be signed by; that beside `sign` when not given."""
    sigstore: SigstoreSettings | None = None
    """Sign and verify through sigstore instead, without a key of one's own."""
    require_keys: bool = False
    """Answer only callers with an API key: python -m tasks.deployment keys add NAME."""
    force_open: bool = False
    """Listen on other addresses than loopback although no API key is asked for."""
    tls_certificate: Path | None = None
    """Certificate chain (PEM): serve HTTPS."""
    tls_key: Path | None = None
    """Its private key (PEM)."""
    tls_client_ca: Path | None = None
    """Answer only clients with a certificate of this authority (PEM)."""
    private_requests: bool = False
    """Publish keys by which clients may encrypt requests and get encrypted answers (HPKE)."""

    @field_validator("sign", "verify", "tls_certificate", "tls_key", "tls_client_ca")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path and path.absolute()

    @property
    def signer(self) -> Path | SigstoreSettings | None:
        """Private key or identity that signs bentos; None when they are not signed."""
        return self.sign or self.sigstore

    @property
    def trusted(self) -> Path | SigstoreSettings | None:
        """Public key or identity by which bentos are verified; None when they are not."""
        return self.verify or (self.sign and self.sign.with_name(f"{self.sign.name}.pub")) or self.sigstore

    @model_validator(mode="after")
    def _one_signer(self) -> "SecuritySettings":
        if self.sigstore is not None and (self.sign or self.verify):
            raise ValueError("security.sigstore signs and verifies without a key: leave security.sign and verify out")
        return self


class BatchSettings(Settings):
    """How a table is predicted."""

    top_k: int | None = Field(default=None, gt=0)
    """Labels at most in `labels`, best first; 1 when not given, or all that pass in a multi-label model."""
    threshold: float = Field(default=0.0, ge=0, le=1)
    """Labels with a lower score are left out of `labels`."""
    labels: tuple[str, ...] = ()
    """Only these labels in `labels`; all when empty."""
    max_text_characters: int = Field(default=100_000, gt=0)
    """Rows with longer texts are marked instead of predicted."""
    chunk_rows: int = Field(default=5_000, gt=0)
    """Rows predicted between two savings; after a kill at most so many a process are predicted again."""
    batch_size: int = Field(default=64, gt=0)
    """Texts run through the model together."""
    workers: int | None = Field(default=None, gt=0)
    """Processes; one for each CPU that may be used when not given."""
    threads: int = Field(default=1, gt=0)
    """ONNX Runtime threads a process."""
    seal: KeySource | None = None
    """Source of the key that an output ending in .sealed is sealed for; that of sealed inputs when not given."""
    csv_raw: bool = False
    """Leave cells of CSV that a spreadsheet would run as formulas as they are, without an apostrophe in front."""

    def answer_key(self) -> dict[str, object]:
        """The settings that decide what is answered, and nothing of how fast."""
        return self.model_dump(mode="json", include={"top_k", "threshold", "labels", "max_text_characters"})
