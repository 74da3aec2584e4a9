"""Great Expectations: the versioned suite in `data/expectations` run on small frames of facts about a table.

The frames hold no text: a length, a count or a share stands for it, so that the checks cost little however
large the table is, and no personal data reaches the pages.
"""

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.base.errors import PipelineError
from tasks.base.state import ROOT

SUITE = ROOT / "data" / "expectations" / "labelled_text.json"


@dataclass(frozen=True)
class Outcome:
    """One expectation's result; `message` says in words what was not met, and is empty where it was."""

    frame: str
    rule: str
    type: str
    success: bool
    stops: bool
    figures: dict[str, Any]
    message: str


def run_suite(
    frames: Mapping[str, pd.DataFrame], parameters: dict[str, Any], facts: dict[str, Any], site: Path
) -> list[Outcome]:
    """Every expectation of the suite in its order, and the Data Docs of this run alone in folder `site`.

    `parameters` are the suite's `$PARAMETER`s; `parameters` and `facts` fill its messages.

    Raises:
        PipelineError: an expectation could not be computed, or the suite's file is damaged.
    """
    suite = _suite()
    gx = _great_expectations()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    outcomes = []
    for frame, expectations in suite["frames"].items():
        frame_suite = context.suites.add(gx.ExpectationSuite(name=f"labelled_text_{frame}", expectations=expectations))
        batch = (
            context.data_sources.add_pandas(frame)
            .add_dataframe_asset(frame)
            .add_batch_definition_whole_dataframe("all")
        )
        definition = context.validation_definitions.add(
            gx.ValidationDefinition(name=frame, data=batch, suite=frame_suite)
        )
        result = definition.run(
            batch_parameters={"dataframe": frames[frame]},
            # COMPLETE lists every unexpected row: minutes and megabytes on a million rows.
            result_format="SUMMARY",
            expectation_parameters=parameters,
        )
        outcomes += [_outcome(frame, entry, parameters | facts) for entry in result.results]
    _build_site(context, site)
    order = {(frame, entry["meta"]["rule"]): place for place, (frame, entry) in enumerate(_entries(suite))}
    return sorted(outcomes, key=lambda outcome: order[outcome.frame, outcome.rule])


def _suite() -> dict[str, Any]:
    try:
        return json.loads(SUITE.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PipelineError(f"{SUITE}: the expectations cannot be read ({error}); restore the file.") from error


def _entries(suite: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(frame, entry) for frame, entries in suite["frames"].items() for entry in entries]


def _great_expectations() -> Any:
    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    import great_expectations

    return great_expectations


def _outcome(frame: str, entry: Any, words: dict[str, Any]) -> Outcome:
    config = entry.expectation_config
    failed = [info for info in _exceptions(entry.exception_info) if info.get("raised_exception")]
    if failed:
        raise PipelineError(f"The expectation {config.meta['rule']!r} failed: {failed[0].get('exception_message')}")
    figures = {
        name: entry.result[name]
        for name in ("observed_value", "element_count", "unexpected_count", "unexpected_percent")
        if name in entry.result
    }
    share = figures.get("unexpected_percent") or 0.0
    message = (
        ""
        if entry.success
        else config.meta["message"].format(observed=figures.get("observed_value"), percent=f"{share:.1f} %", **words)
    )
    return Outcome(
        frame,
        config.meta["rule"],
        config.type,
        bool(entry.success),
        config.severity.value == "critical",
        figures,
        message,
    )


def _exceptions(info: dict[str, Any]) -> list[dict[str, Any]]:
    """An expectation's exceptions, which stand alone or by the metric that raised them."""
    return [info] if "raised_exception" in info else [value for value in info.values() if isinstance(value, dict)]


def _build_site(context: Any, site: Path) -> None:
    shutil.rmtree(site, ignore_errors=True)
    context.add_data_docs_site(
        site_name="run",
        site_config={
            "class_name": "SiteBuilder",
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(site.absolute())},
        },
    )
    context.build_data_docs(site_names=["run"])
