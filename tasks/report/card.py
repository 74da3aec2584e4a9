"""The model card in Markdown (Mitchell et al. 2019): what the model is for, how good it is and where it ends."""

import re

from tasks.base.pages.templates import templates
from tasks.kinds.registry import KINDS
from tasks.report.findings import findings
from tasks.report.run import RunReport, hashes

_MARKS = re.compile(r"([\\`*_{}\[\]<>()#+!|~-])")


def model_card(run: RunReport) -> str:
    """The card of a run that was evaluated.

    Texts from the data are never quoted; labels are escaped, so that they cannot be read as Markdown or HTML.
    """
    environment = templates()
    environment.filters["md"] = escape
    card = environment.get_template("card.md")
    dataset = run.dataset
    return card.render(
        run=run,
        intended=KINDS[dataset.task].intended.format(labels=len(dataset.labels)) if dataset else "",
        findings=findings(run, released=True),
        hashes=hashes(run, released=True),
    )


def escape(value: object) -> str:
    """`value` on one line, as plain text in Markdown."""
    return _MARKS.sub(r"\\\1", " ".join(str(value).split()))
