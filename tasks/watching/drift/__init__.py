"""Is live traffic still like the data that the live version was accepted on?"""

from tasks.watching.drift.monitor import monitor
from tasks.watching.drift.reference import reference_statistics
from tasks.watching.drift.report import DriftReport

__all__ = ["DriftReport", "monitor", "reference_statistics"]
