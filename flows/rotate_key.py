"""A new key for sealed models, without training: `python -m flows.rotate_key --old SOURCE --new SOURCE`."""

from pydantic import BaseModel, ConfigDict, Field

from flows import command_line
from flows.console import current
from tasks.base.state import state_folder
from tasks.deployment.rotate import rotate


class RotateConfig(BaseModel):
    """Wraps the data keys of all sealed bentos by another key; sealed files and signatures stay as they are."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    old: str = Field(min_length=1)
    """Source of the key so far: file:PATH or env:NAME."""
    new: str = Field(min_length=1)
    """Source of the new key."""


def main(config: RotateConfig) -> None:
    """The command."""
    console = current()
    for tag in rotate(config.old, config.new, state_folder()):
        console.line(f"{tag} opens by the new key alone")
    console.line("running workers are replaced by: python -m tasks.deployment reload")


if __name__ == "__main__":
    command_line.run(RotateConfig, "python -m flows.rotate_key", state_folder() / "logs" / "rotate_key.log", main)
