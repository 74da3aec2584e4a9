"""From a flow's typed parameters to its command line; errors become one message and an exit status."""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, CliApp, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError

from flows.console import Console, quiet, shown_on
from flows.environment import make_home
from tasks.base.errors import InputError, PipelineError

Config = TypeVar("Config", bound=BaseModel)


def parse(config: type[Config], program: str, arguments: list[str]) -> Config:
    """The typed parameters in `arguments`; lists may be given as `a,b` or repeated.

    Raises:
        InputError: an option is unknown or its value is refused; the message names it.
    """
    shell = type(
        config.__name__,
        (config, BaseSettings),  # pyright: ignore[reportGeneralTypeIssues]
        {
            "__doc__": config.__doc__,
            "__module__": config.__module__,
            "model_config": SettingsConfigDict(
                cli_prog_name=program,
                cli_implicit_flags=True,
                cli_kebab_case=True,
                cli_hide_none_type=True,
                cli_avoid_json=True,
                cli_exit_on_error=False,
                # The environment and .env files of a machine must not change what a run does.
                env_prefix="MODEL_SERVICE_OPTION_",
            ),
        },
    )
    try:
        parsed = CliApp.run(shell, cli_args=arguments)
    except ValidationError as error:
        raise InputError("\n".join(_option_error(entry) for entry in error.errors())) from error
    except SettingsError as error:
        wrong = str(error).removeprefix("error parsing CLI: ")
        raise InputError(f"{wrong}; `{program} --help` lists the options") from error
    return config.model_validate(parsed.model_dump())


def _option_error(entry: object) -> str:
    assert isinstance(entry, dict)
    message = entry["msg"].removeprefix("Value error, ")
    if isinstance(entry["input"], dict) and entry["type"] == "value_error":
        # Of several options together, which the message names.
        return message
    option = ".".join(str(part).replace("_", "-") for part in entry["loc"])
    return f"--{option}: {message} (given: {entry['input']!r})"


def run(config: type[Config], program: str, log: Path, body: Callable[[Config], object]) -> None:
    """Runs `body`, its lines on this terminal, and exits.

    The status is 0, or the error's, after one message and no traceback.
    """
    try:
        parameters = parse(config, program, sys.argv[1:])
        make_home()
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    with quiet(log) as console, shown_on(console):
        status = _guarded(lambda: body(parameters), console, log)
    sys.exit(status)


def run_flow(config: type[Config], program: str, log: Path, body: Callable[[Config], object]) -> None:
    """`run`, once Prefect's server is seen to answer: its client would go on asking a silent one for many minutes."""

    def asked(parameters: Config) -> object:
        if url := os.environ.get("PREFECT_API_URL"):
            # Imported late: whoever is told that an option is wrong need not wait for it.
            from flows.api import check_answers

            check_answers(url)
        return body(parameters)

    run(config, program, log, asked)


def _guarded(body: Callable[[], object], console: Console, log: Path) -> int:
    try:
        body()
    except PipelineError as error:
        console.finish_progress()
        print(f"error: {error}", file=console.error, flush=True)
        return error.exit_status
    except KeyboardInterrupt:
        console.finish_progress()
        print("interrupted; the next run goes on from the last finished stage", file=console.error, flush=True)
        return 130
    except Exception as error:
        console.finish_progress()
        traceback.print_exc()
        print(
            f"unexpected error: {type(error).__name__}: {error}\nthe log has the details: {log}",
            file=console.error,
            flush=True,
        )
        return 1
    return 0
