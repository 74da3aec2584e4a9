"""Seals a file of rows for the pipeline: `python -m flows.seal --input rows.csv --to file:data.pub`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from flows import command_line
from flows.console import current
from tasks.base.settings import KeySource
from tasks.base.state import state_folder
from tasks.data.sealed_files import SUFFIX, seal_file


class SealConfig(BaseModel):
    """Encrypts a file of rows, of any format and size, so that only the pipeline's key opens it."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    input: Path
    """A file that training or batch prediction reads."""
    output: Path | None = None
    """The sealed file; the input's name with .sealed when not given."""
    to: KeySource
    """Source of the key: file:PATH or env:NAME, where a public key is enough."""


def main(config: SealConfig) -> None:
    """The command."""
    output = config.output or config.input.with_name(f"{config.input.name}{SUFFIX}")
    name = seal_file(config.input, output, config.to)
    current().line(f"{output} opens by key {name} alone; {config.input} is left as it is")


if __name__ == "__main__":
    command_line.run(SealConfig, "python -m flows.seal", state_folder() / "logs" / "seal.log", main)
