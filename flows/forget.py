"""Forgets a person on request: `python -m flows.forget --values '["ann@mail.example"]'`."""

from pydantic import BaseModel, ConfigDict, Field

from flows import command_line
from flows.console import current
from flows.exclusive import exclusive
from tasks.base.errors import PipelineError
from tasks.base.state import state_folder
from tasks.watching.forget import forget


class ForgetConfig(BaseModel):
    """Removes the rows that name a person from stored data, feedback and records."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    values: tuple[str, ...] = Field(min_length=1)
    """What names the person: addresses, numbers, names, pseudonyms."""


def main(config: ForgetConfig) -> None:
    """The command.

    Raises:
        PipelineError: a second search found something left, or files that could not be looked into.
    """
    console, state = current(), state_folder()
    # What a running retrain holds in memory it would write afterwards.
    with exclusive(state, wait=True, console=console):
        done = forget(config.values, state)
    for name, rows in done.rows.items():
        console.line(f"{rows} rows removed from {name}")
    for name in done.blanked:
        console.line(f"blanked out in {name}")
    for name in done.remaining:
        console.line(f"still in {name}: remove it by hand")
    for name, why in done.unread.items():
        console.line(f"not looked into: {name}: {why}")
    for tag in done.versions:
        console.line(f"trained on removed rows: {tag}; retrain, then remove it with `bentoml delete`")
    if not (done.rows or done.blanked or done.remaining):
        console.line("nothing that could be read holds this" if done.unread else "nothing stored holds this")
    console.line("the source itself, its backups and exports are outside: remove the rows there too")
    if done.remaining or done.unread:
        raise PipelineError(
            f"not everything is forgotten: {len(done.remaining)} files still hold it, {len(done.unread)} could not be"
            " looked into; they are named above"
        )


if __name__ == "__main__":
    command_line.run(ForgetConfig, "python -m flows.forget", state_folder() / "logs" / "forget.log", main)
