"""Opens a sealed file, such as sealed answers: `python -m flows.unseal --input answers.csv.sealed`."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from flows import command_line
from flows.console import current
from tasks.base.errors import InputError
from tasks.base.settings import KeySource
from tasks.base.state import state_folder
from tasks.data.sealed_files import SUFFIX, unseal_file


class UnsealConfig(BaseModel):
    """Writes what a sealed file holds, in clear, for its owner alone to read."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    input: Path
    """The sealed file."""
    output: Path | None = None
    """The file in clear; the input's name without .sealed when not given."""
    data_key: KeySource | None = None
    """Source of the key that opens it; what MODEL_SERVICE_DATA_KEY names when not given."""


def main(config: UnsealConfig) -> None:
    """The command."""
    if config.output is None and config.input.suffix != SUFFIX:
        raise InputError(f"{config.input} does not end in {SUFFIX}: name the output with --output.")
    output = config.output or config.input.with_suffix("")
    unseal_file(config.input, output, config.data_key)
    current().line(f"{output} holds the rows in clear")


if __name__ == "__main__":
    command_line.run(UnsealConfig, "python -m flows.unseal", state_folder() / "logs" / "unseal.log", main)
