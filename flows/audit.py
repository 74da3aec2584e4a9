"""What is known against the packages that a version runs on: `python -m flows.audit`, online."""

from pydantic import BaseModel, ConfigDict

from flows import command_line
from flows.console import current
from tasks.base.errors import PipelineError
from tasks.base.state import state_folder
from tasks.deployment.served_model import served_bento
from tasks.release.audit import audit


class AuditConfig(BaseModel):
    """Asks pip-audit about every package in a bento's bill of materials; fails where something is known."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    bento: str | None = None
    """The version to check; the live one when not given."""


def main(config: AuditConfig) -> None:
    """The command."""
    bento = served_bento(state_folder(), config.bento)
    packages, found = audit(bento)
    for one in found:
        fixed = f"fixed in {', '.join(one.fixed)}" if one.fixed else "not fixed yet"
        current().line(f"{one.package} {one.version}: {one.id}, {fixed}")
    if found:
        raise PipelineError(f"{bento.name}: {len(found)} known vulnerabilities in its {packages} packages.")
    current().line(f"{bento.name}: nothing is known against its {packages} packages")


if __name__ == "__main__":
    command_line.run(AuditConfig, "python -m flows.audit", state_folder() / "logs" / "audit.log", main)
