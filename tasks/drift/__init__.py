"""Is live traffic still like the data that the live version was accepted on?"""

from tasks.drift.monitor import monitor
from tasks.drift.reference import reference_statistics
from tasks.drift.report import DriftReport

__all__ = ["DriftReport", "monitor", "reference_statistics"]
