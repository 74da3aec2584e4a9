"""All that a run found out, and its JSON form."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator, Field

from bentos.text_classifier.manifest import Privacy
from tasks.base.errors import PipelineError
from tasks.base.files import write_whole
from tasks.base.manifests import (
    Checked,
    Converted,
    Dataset,
    Deployment,
    Evaluation,
    Optimised,
    Package,
    Record,
    Selection,
    Table,
    Verdict,
)
from tasks.base.state import hand_over, make_asked
from tasks.candidates.select import pareto
from tasks.data.sources import shown


def _shown_within(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _shown_within(item) for name, item in value.items()}
    return shown(value) if isinstance(value, str) else value


class RunReport(Record):
    """The manifest of every stage that was reached; a run may end after any of them.

    Sources stand here without the passwords of their URLs.
    """

    source: Annotated[str, AfterValidator(shown)]
    effort: str = "standard"
    seed: int = 0
    started: datetime = Field(default_factory=lambda: datetime.now(UTC))
    parameters: Annotated[dict[str, Any], AfterValidator(_shown_within)] = Field(
        default={}, description="the flow's parameters, for the reader"
    )
    code: str = Field(default="", description="SHA-256 of the code that ran")
    table: Table | None = None
    checked: Checked | None = None
    dataset: Dataset | None = None
    selection: Selection | None = None
    converted: Converted | None = None
    optimised: Optimised | None = None
    evaluation: Evaluation | None = None
    verdict: Verdict | None = None
    package: Package | None = None
    deployment: Deployment | None = None
    seconds: dict[str, float] = Field(default={}, description="by stage")
    versions: dict[str, str] = Field(default={}, description="of the libraries used")

    @property
    def privacy(self) -> Privacy | None:
        """What the chosen model's training kept to."""
        found = self.selection.chosen.settings.get("privacy") if self.selection else None
        return msgspec.convert(found, Privacy) if found else None


def as_json(run: RunReport) -> dict[str, Any]:
    """The report as one object; the parts of stages that were not reached are null or empty.

    Figures are `{value, low, high}`, fractions with a 95 % interval; numbers that are not finite are null.
    """
    selection, evaluation, deployment = run.selection, run.evaluation, run.deployment
    content = {
        "data": _data(run),
        "candidates": _candidates(selection) if selection else [],
        "chosen": _chosen(selection) if selection else None,
        "test": _test(evaluation, run) if evaluation else None,
        "gate": _plain(run.verdict),
        "conversion": {"parity": run.converted.parity} if run.converted else None,
        "variants": [_plain(variant) for variant in run.optimised.variants] if run.optimised else [],
        "bento": _plain(run.package),
        "deployment": deployment.model_dump(mode="json", exclude={"smoke"}) if deployment else None,
        "smoke": deployment.smoke if deployment else [],
        "seconds": run.seconds,
        "versions": run.versions,
        "hashes": hashes(run),
    }
    return finite(content)


def write_json(run: RunReport, path: Path, *, asked: bool = False) -> None:
    """Writes `as_json(run)` as strict JSON; the file appears whole or not at all.

    Args:
        asked: a person named the path; see `tasks.base.state`.

    Raises:
        PipelineError: `path` cannot be written.
    """
    content = json.dumps(as_json(run), ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    try:
        if asked:
            make_asked(path.parent)
        write_whole(path, content)
        if asked:
            hand_over(path)
    except OSError as error:
        raise PipelineError(f"the report cannot be written to {path}: {error.strerror}") from error


def hashes(run: RunReport, *, released: bool = False) -> dict[str, str]:
    """The chain from data through code and model to the bento and its deployment, each by the SHA-256 of its content.

    Args:
        released: they leave the house with the model; hashes of rows under a privacy budget, by which a guess of
            them all could be checked, are left out.
    """
    rows = {"table": run.table, "checked": run.checked, "split": run.dataset}
    links = {
        **({} if released and run.privacy else rows),
        "model": run.selection.chosen if run.selection else None,
        "onnx": run.converted,
        "variants": run.optimised,
        "evaluation": run.evaluation,
        "bento": run.package,
        "deployment": run.deployment,
    }
    return {"code": run.code} | {name: link.content for name, link in links.items() if link and link.content}


def finite(value: Any) -> Any:
    """`value` with plain containers and null for numbers that JSON does not know."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _data(run: RunReport) -> dict[str, Any] | None:
    if run.table is None:
        return None
    checked, dataset = run.checked, run.dataset
    return {
        "source": run.source,
        "task": run.table.task,
        "text_column": run.table.text_column,
        "label_column": run.table.label_column,
        "rows_read": run.table.rows_read,
        "rows_kept": checked.rows if checked else run.table.rows,
        "rows": dataset.rows if dataset else {},
        "quarantined": checked.quarantined if checked else run.table.quarantined,
        "duplicates": checked.duplicates if checked else None,
        "conflicts": checked.conflicts if checked else None,
        "classes": checked.classes if checked else {},
        "near_equal_classes": checked.near_equal_classes if checked else [],
        "expectations": checked.expectations if checked else [],
        "profile": dataset.profile.model_dump(mode="json") if dataset else None,
        "notes": [*run.table.notes, *(checked.notes if checked else []), *(dataset.notes if dataset else [])],
    }


def _candidates(selection: Selection) -> list[dict[str, Any]]:
    front = {row["name"]: row["on_front"] for row in pareto(selection.candidates)}
    return [
        candidate.model_dump(mode="json", exclude={"folder"}) | {"on_front": front[candidate.name]}
        for candidate in selection.candidates
    ]


def _chosen(selection: Selection) -> dict[str, Any]:
    chosen = selection.chosen
    return {
        "name": chosen.name,
        "score": chosen.score,
        "reason": selection.reason,
        "settings": chosen.settings,
        "skipped": selection.skipped,
    }


def _test(evaluation: Evaluation, run: RunReport) -> dict[str, Any]:
    return {
        **{name: figure.model_dump() for name, figure in evaluation.metrics.items()},
        "rows": run.dataset.rows.get("test") if run.dataset else None,
        "majority": evaluation.majority,
        "per_class": evaluation.per_class,
        "labels": list(evaluation.per_class),
        "confusion": evaluation.confusion,
        "calibration": evaluation.calibration,
        "slices": evaluation.slices,
        "scope": evaluation.scope,
        "label_errors": evaluation.label_errors,
        "left_out": evaluation.left_out,
    }


def _plain(record: Record | None) -> dict[str, Any] | None:
    return record.model_dump(mode="json") if record else None
