"""What a look at live traffic found."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from tasks.base.manifests import Figure, Record


class StatisticResult(Record):
    """`reference` and `live` are a mean or share that a person can compare; the test may see more than that."""

    name: str
    reference: float | None
    live: float | None
    p: float
    corrected: float
    alarm: bool


class Distribution(Record):
    """Shares of the rows between `edges`, one fewer than those."""

    edges: list[float]
    reference: list[float]
    live: list[float]


class DriftReport(Record):
    """One look. `alpha` is the chance that a look at unchanged traffic raises any alarm."""

    state: Literal["too few", "steady", "drift"]
    version: str
    alpha: float
    rows: int = Field(description="recorded predictions of the version in the time looked at")
    compared: int = Field(description="different texts among them that were compared")
    reference_rows: int
    since: datetime | None
    until: datetime | None
    statistics: list[StatisticResult] = Field(default=[])
    labels: dict[str, tuple[float, float]] = Field(default={}, description="shares by label: reference, live")
    distributions: dict[str, Distribution] = Field(default={}, description="of characters, score, rarity, unknown")
    accepted_accuracy: Figure | None = Field(default=None, description="on the reference rows")
    estimated_accuracy: Figure | None = Field(
        default=None, description="of the live rows, if scores are as well calibrated there as on the reference"
    )
    feedback: int = Field(default=0, description="answers put right or confirmed in the time looked at")
    feedback_accuracy: Figure | None = Field(default=None, description="share of those that were right")

    @property
    def alarms(self) -> list[str]:
        """The statistics that raised an alarm, the surest first."""
        return [each.name for each in sorted(self.statistics, key=lambda each: each.corrected) if each.alarm]
