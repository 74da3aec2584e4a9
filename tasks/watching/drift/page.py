"""A look at live traffic as one self-contained HTML page."""

from collections.abc import Sequence
from pathlib import Path

from tasks.base.files import write_whole
from tasks.base.pages.templates import templates
from tasks.watching.drift.charts import accuracy_chart, distribution_chart, labels_chart
from tasks.watching.drift.report import DriftReport

PAGE = "drift.html"


def write_page(report: DriftReport, looks: Sequence[DriftReport], folder: Path) -> Path:
    """Writes `folder`/drift.html and returns its path; `looks` are those taken so far, this one last."""
    page = (
        templates()
        .get_template(PAGE)
        .render(
            report=report,
            headline=headline(report),
            statistics=sorted(report.statistics, key=lambda each: (each.corrected, each.p)),
            distributions=[distribution_chart(name, shares) for name, shares in report.distributions.items()],
            labels=labels_chart(report.labels) if report.labels else "",
            accuracy=accuracy_chart(looks),
        )
    )
    write_whole(folder / PAGE, page)
    return folder / PAGE


def headline(report: DriftReport) -> str:
    """The look in one sentence."""
    if report.state == "too few":
        return f"{report.compared:,} different texts are too few to tell."
    if report.state == "steady":
        return "Live texts and answers are like those that the version was accepted on."
    return f"Live traffic differs from what the version was accepted on: {', '.join(report.alarms)}."
