"""The report as one self-contained HTML page."""

import csv
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.base.files import write_whole
from tasks.base.pages.templates import templates
from tasks.base.pages.wording import metric_name
from tasks.candidates.select import pareto
from tasks.kinds.registry import KINDS
from tasks.report import charts
from tasks.report.findings import findings, headline
from tasks.report.run import RunReport, hashes

MOST_ROWS = 30
"""Of a table of texts."""

MOST_CURVES = 8
"""Candidates in the learning curves, best first."""

_WEAKEST = 10


def report(run: RunReport, folder: Path) -> Path:
    """Writes `report.html` into `folder` and returns its path; whatever was not reached is left out.

    The page loads nothing from elsewhere and escapes every text and label.
    """
    page = templates().get_template("report.html").render(view(run))
    path = folder / "report.html"
    write_whole(path, page)
    return path


def view(run: RunReport) -> dict[str, Any]:
    """What the page's template shows."""
    return {
        "run": run,
        "headline": headline(run),
        "findings": findings(run),
        "compared_by": _compared_by(run),
        "seconds_chart": charts.seconds_chart(run.seconds),
        "total_seconds": sum(run.seconds.values()),
        "hashes": hashes(run),
        "series": charts.SERIES,
        **_data(run),
        **_choice(run),
        **_test(run),
    }


def _data(run: RunReport) -> dict[str, Any]:
    checked, table = run.checked, run.table
    classes = sorted(checked.classes.items(), key=lambda item: -item[1]) if checked else []
    quarantine = (checked.quarantine if checked else None) or (table.quarantine if table else None)
    unmet = [one for one in checked.expectations if not one["success"]] if checked else []
    notes = [*(table.notes if table else []), *(checked.notes if checked else [])]
    return {
        "unmet": unmet,
        "met": len(checked.expectations) - len(unmet) if checked else 0,
        "classes": classes,
        "largest_class": max((count for _, count in classes), default=1),
        "quarantined": checked.quarantined if checked else table.quarantined if table else {},
        "quarantine_rows": quarantine_rows(quarantine) if quarantine and quarantine.exists() else [],
        "notes": notes + (run.dataset.notes if run.dataset else []),
    }


def quarantine_rows(path: Path) -> list[dict[str, str]]:
    """The first rows of the quarantine file: source, line, reason, excerpt."""
    with path.open(newline="", encoding="utf-8", errors="replace") as stream:
        return list(islice(csv.DictReader(stream), MOST_ROWS))


def _compared_by(run: RunReport) -> str:
    """The metric that candidates were compared by, as people write it."""
    chosen = (run.parameters.get("train") or {}).get("metric")
    return metric_name(chosen or (KINDS[run.dataset.task].metric if run.dataset else "accuracy"))


def _choice(run: RunReport) -> dict[str, Any]:
    selection = run.selection
    if selection is None:
        return {"candidates": [], "candidates_chart": "", "curves": []}
    front = {row["name"]: row["on_front"] for row in pareto(selection.candidates)}
    ranked = sorted(selection.candidates, key=lambda one: -one.score)
    rows = [one.model_dump() | {"on_front": front[one.name]} for one in ranked]
    shown = [one for one in ranked if one.curves][:MOST_CURVES]
    names = list(dict.fromkeys(name for one in shown for name in one.curves))
    return {
        "candidates": rows,
        "candidates_chart": charts.candidates_chart(rows, selection.chosen.name, _compared_by(run)),
        "curves": [
            charts.curves_chart({one.name: one.curves.get(name, []) for one in shown}, _curve_name(name))
            for name in names
        ],
        "curve_names": [one.name for one in shown],
    }


def _test(run: RunReport) -> dict[str, Any]:
    evaluation = run.evaluation
    if evaluation is None:
        return {}
    per_class = [{"name": name, **figures} for name, figures in evaluation.per_class.items()]
    weakest = sorted(per_class, key=lambda row: row["f1"])
    calibration = evaluation.calibration
    return {
        "per_class": per_class,
        "weakest": weakest[:_WEAKEST] if len(per_class) > _WEAKEST else [],
        "confusion_chart": charts.confusion_chart(list(evaluation.per_class), evaluation.confusion)
        if evaluation.confusion
        else "",
        "confused": confused(list(evaluation.per_class), evaluation.confusion),
        "reliability_chart": charts.reliability_chart(calibration["before"], calibration["after"]),
        "mistakes": mistakes(evaluation.predictions) if evaluation.predictions.exists() else [],
    }


def confused(labels: Sequence[str], matrix: Sequence[Sequence[int]], most: int = 12) -> list[dict[str, Any]]:
    """The most frequent confusions: true class, answer, rows and their share of the class."""
    pairs = [
        {"truth": labels[i], "answer": labels[j], "rows": count, "share": count / sum(row)}
        for i, row in enumerate(matrix)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda pair: (-pair["rows"], -pair["share"]))[:most]


def mistakes(predictions: Path, most: int = 15) -> list[dict[str, Any]]:
    """The wrong answers that the model was surest of."""
    table = pq.read_table(predictions)
    wrong = table.filter(~pc.field("correct")).sort_by([("score", "descending")])
    return wrong.slice(0, most).to_pylist()


def _curve_name(name: str) -> str:
    return "training loss" if name == "loss" else f"validation {metric_name(name)}"
