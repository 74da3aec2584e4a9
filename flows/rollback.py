"""Back to an earlier version, at once and without training: `python -m flows.rollback [--to VERSION]`."""

from prefect import flow
from pydantic import BaseModel, ConfigDict, Field

from flows import command_line
from flows.console import current
from flows.running import recorded
from tasks.base.manifests import Deployment
from tasks.base.state import state_folder
from tasks.deployment.deploy import rollback as return_to


class RollbackConfig(BaseModel):
    """Back to an earlier version, at once and without training."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    to: str | None = Field(default=None, min_length=1)
    """The version, as VERSION or text_classifier:VERSION; the good one before the live one when not given."""
    why: str = Field(default="asked for", min_length=1)
    """Kept in the history."""


@flow(name="rollback", validate_parameters=True)
def rollback(config: RollbackConfig) -> Deployment:
    """Serves an earlier version again; a version left this way is not returned to by a later rollback.

    Raises:
        InputError: there is no such version.
        DeploymentError: it does not come up; the live version still answers.
    """
    console = current()
    with recorded():
        done = return_to(config.to, state_folder(), config.why)
    console.line(f"{done.tag} answers on {done.url} again, in place of {done.previous}")
    return done


if __name__ == "__main__":
    log = state_folder() / "logs" / "rollback.log"
    command_line.run_flow(RollbackConfig, "python -m flows.rollback", log, rollback)
