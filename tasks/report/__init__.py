"""Stage: tell what came of a run, as a page for people, a model card and JSON for programs; a page of all versions.

From above: the names below, and `registry`.
"""

from tasks.report.card import model_card
from tasks.report.page import report
from tasks.report.run import RunReport, write_json

__all__ = ["RunReport", "model_card", "report", "write_json"]
