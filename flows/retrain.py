"""From a table of labelled text to a live, smoke-tested model service: `python -m flows.retrain`."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.events import emit_event

from flows import beforehand, command_line
from flows.config import RetrainConfig
from flows.console import current
from flows.exclusive import exclusive
from flows.publish import conclusion, percent, publish
from flows.retraining import Retraining
from flows.running import recorded
from tasks.base.state import state_folder
from tasks.deployment.retention import prune
from tasks.report.registry import write_registry
from tasks.report.run import as_json
from tasks.watching.drift.labelling import advice

PROMOTED = "model-service.promoted"
UNCHANGED = "model-service.unchanged"
"""Drift asked for a retrain, and that made the model that is live."""


@flow(name="retrain", validate_parameters=True)
def retrain(config: RetrainConfig) -> dict[str, Any]:
    """Trains on the source and serves the model if it passes its gate; the live version stays otherwise.

    Returns:
        The report, as `--report` writes it.

    Raises:
        InputError: the data or a parameter cannot be used.
        GateRefused: the model is not good enough.
        DeploymentError: the smoke test or the deployment failed.
    """
    with recorded():
        return _retrained(config)


def _retrained(config: RetrainConfig) -> dict[str, Any]:
    console = current()
    state = state_folder()
    beforehand.check(config, state)
    with exclusive(state, wait=config.wait, console=console):
        folder = _run_folder(state)
        run = Retraining(config, state, console)
        run.prepare()
        run.train()
        try:
            run.judge()
            if config.deploy and run.stays():
                run.export()
            else:
                run.package()
                run.export()
                if config.deploy:
                    run.deploy()
                    _tell(run)
        finally:
            # A refusal or a failed deployment is reported as well; the error goes on to the caller.
            page = publish(run.report(), folder, config.report)
            # Also after a refusal and without a deployment: those versions take space too.
            prune(state, config.serve.retain)
            write_registry(state)
    helps = list(advice(state, run.deployment.tag)) if config.deploy and run.deployment.state == "unchanged" else []
    if len(helps) > 1:
        _emit(UNCHANGED, run.deployment.tag, " ".join(helps))
    for line in conclusion(run.report(), page, helps):
        console.line(line)
    return as_json(run.report())


def _tell(run: Retraining) -> None:
    tag = run.deployment.tag
    accuracy = percent(run.evaluation.metrics["accuracy"])
    _emit(PROMOTED, tag, f"test accuracy {accuracy}; answers on {run.deployment.url}")


def _emit(event: str, tag: str, summary: str) -> None:
    resource = {"prefect.resource.id": f"model-service.{tag}", "prefect.resource.name": tag}
    emit_event(event, resource=resource, payload={"summary": summary})


def _run_folder(state: Path) -> Path:
    folder = state / "runs" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
    folder.mkdir(parents=True)
    return folder


if __name__ == "__main__":
    command_line.run_flow(RetrainConfig, "python -m flows.retrain", state_folder() / "logs" / "retrain.log", retrain)
