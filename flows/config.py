"""Typed parameters of the flows: Prefect's form, the command line and a deployment's YAML in one."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from flows.task_runners import RunnerName
from tasks.base.errors import InputError
from tasks.base.settings import (
    Budget,
    DataSettings,
    Effort,
    FeedbackSettings,
    GateSettings,
    OptimiseSettings,
    SecuritySettings,
    ServeSettings,
    SourceSettings,
    TrainSettings,
)
from tasks.kinds.registry import AUTO, KINDS, kind_of


def _form(schema: dict[str, Any]) -> None:
    # Only the command line has a default source: a run asked for through Prefect with empty parameters
    # (prefect#19501) is refused, where it would else train on the embedded source and replace the live version.
    schema["required"] = ["source"]
    schema["properties"]["task"]["enum"] = [AUTO, *KINDS]


class RetrainConfig(Budget, SourceSettings):
    """From a table of labelled text to a live, smoke-tested model service."""

    model_config = ConfigDict(json_schema_extra=_form)

    validation_source: str | None = Field(default=None, min_length=1)
    """Source of the validation rows, instead of a share of `source`; never trained on unless `data.refit`."""
    test_source: str | None = Field(default=None, min_length=1)
    """Source of the test rows, instead of a share of `source`; never trained on."""
    effort: Effort | None = None
    """`quick`, `standard` or `thorough`; standard when not given, quick for the embedded source."""
    seed: int = 13
    """Seed of the split, the initial weights and the bootstrap."""
    runner: RunnerName | None = None
    """Where candidates and folds are trained: one after the other here (`local`), or side by side in the processes
    of a cluster (`dask`, `ray`); where there are four CPUs and no GPU `dask` when not given."""
    runner_address: str | None = Field(default=None, min_length=1)
    """Address of a Dask scheduler or a Ray cluster that runs already; a local one is started when not given."""
    deploy: bool = True
    """Stop after packaging with --no-deploy."""
    wait: bool = True
    """Wait for a running retrain to end; with --no-wait end with status 2 instead."""
    report: Path | None = None
    """Also write the report as JSON here."""
    promote_anyway: str | None = Field(default=None, min_length=1)
    """The reason for serving a model that the gate refuses; it is recorded."""
    export: tuple[Annotated[str, Field(pattern="^(onnx|tfserving|triton)=.+")], ...] = ()
    """Pairs KIND=DIR with KIND tfserving, triton or onnx: also write the model in that form."""
    data: DataSettings = DataSettings()
    """When data is good enough, and how it is split."""
    train: TrainSettings = TrainSettings()
    """How models are trained and chosen."""
    feedback: FeedbackSettings = FeedbackSettings()
    """How answers that people put right become training rows."""
    gate: GateSettings = GateSettings()
    """What a model must show before it is served."""
    optimise: OptimiseSettings = OptimiseSettings()
    """Variants of the converted model."""
    serve: ServeSettings = ServeSettings()
    """Where and with what the model is served."""
    security: SecuritySettings = SecuritySettings()
    """What protects the model and the service."""

    def of_source(self, source: str) -> SourceSettings:
        """How `source` is read: as the training source is."""
        settings = SourceSettings.model_validate(self.model_dump(include=set(SourceSettings.model_fields)))
        return settings.model_copy(update={"source": source})

    @field_validator("task")
    @classmethod
    def _known_task(cls, task: str) -> str:
        # Here, since the room of kinds stands on the settings' room.
        try:
            if task != AUTO:
                kind_of(task)
        except InputError as error:
            raise ValueError(str(error)) from None
        return task

    @model_validator(mode="after")
    def _one_private_training(self) -> "RetrainConfig":
        if self.train.privacy.epsilon is not None and self.data.refit:
            raise ValueError("train.privacy.epsilon is the budget of one training; data.refit asks for a second one")
        return self
