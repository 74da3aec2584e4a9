"""What a run leaves for people: the HTML page, the model card, the JSON object, Prefect artifacts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from tasks.base.manifests import Figure
from tasks.report import RunReport, model_card, report, write_json
from tasks.report.run import as_json

PAGE_KEY = "report"


def publish(run: RunReport, folder: Path, copy: Path | None) -> Path:
    """Writes the page, card and JSON into `folder`, the JSON to `copy` too, and Prefect's artifacts.

    Returns:
        The path of the HTML page.

    Raises:
        PipelineError: a JSON file cannot be written.
    """
    page = report(run, folder)
    card = model_card(run)
    (folder / "MODEL_CARD.md").write_text(card, "utf-8")
    write_json(run, folder / "report.json")
    content = as_json(run)
    create_link_artifact(link=page.as_uri(), link_text="report", key=PAGE_KEY)
    create_markdown_artifact(markdown=card, key="model-card")
    for key, rows in _tables(content).items():
        if rows:
            create_table_artifact(table=rows, key=key)
    if copy is not None:
        write_json(run, copy, asked=True)
    return page


def _tables(content: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    candidates = ("name", "score", "error", "latency_ms", "size_bytes", "seconds", "on_front")
    variants = ("name", "accuracy", "size_bytes", "picked", "reason")
    test = content["test"] or {}
    return {
        "candidates": [{name: row[name] for name in candidates} for row in content["candidates"]],
        "variants": [{name: row[name] for name in variants} for row in content["variants"]],
        "test": [
            {"metric": name, **figure}
            for name, figure in test.items()
            if isinstance(figure, dict) and figure.keys() == {"value", "low", "high"}
        ],
        "classes": [{"class": name, **figures} for name, figures in test.get("per_class", {}).items()],
        "gate": (content["gate"] or {}).get("checks", []),
        "smoke": content["smoke"],
        "quarantine": [
            {"reason": reason, "rows": rows} for reason, rows in (content["data"] or {}).get("quarantined", {}).items()
        ],
    }


def conclusion(run: RunReport, page: Path, helps: Sequence[str] = ()) -> list[str]:
    """What a person wants to know at the end; the report's path is the last line.

    Args:
        helps: where the live version stays because it is this model already, what would make another one.
    """
    dataset, selection, optimised, evaluation = run.dataset, run.selection, run.optimised, run.evaluation
    if not (dataset and selection and optimised and evaluation):
        raise ValueError("a conclusion needs a run that was evaluated")
    accuracy = percent(evaluation.metrics["accuracy"])
    picked = optimised.picked
    cost = f"{picked.size_bytes / 1e6:.1f} MB, {picked.latency_ms['1']:.2f} ms a text on one thread"
    lines = [
        "",
        f"test accuracy   {accuracy}, 95 % interval, on {dataset.rows['test']:,} rows",
        f"model           {selection.reason}",
        f"served as       {picked.name}, {cost}",
    ]
    if run.deployment:
        lines.append(f"service         {run.deployment.url} ({run.deployment.tag})")
        if run.deployment.state == "unchanged":
            lines.append(f"unchanged       {run.deployment.tag} is this very model: nothing was deployed.")
            lines += [f"                {line}" for line in helps]
        if run.deployment.moved_from:
            moved = f"moved from {run.deployment.moved_from}, as asked; nothing of this project answers there any more"
            lines.append(f"                {moved}")
    elif run.package:
        lines.append(
            f"bento           {run.package.tag} (not deployed; serve it with: bentoml serve {run.package.tag})"
        )
    return [*lines, f"report: {page}"]


def percent(figure: Figure) -> str:
    """`93.1 % (91.0 to 95.0)`."""
    return f"{figure.value:.1%} ({100 * figure.low:.1f} to {100 * figure.high:.1f})"
