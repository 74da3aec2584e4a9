"""A prediction process, which `worker` starts and feeds: `python -m tasks.batch`."""

import os
import sys
from typing import IO

import pyarrow as pa

from tasks.base.errors import InputError
from tasks.batch.answers import Answerer
from tasks.batch.processes import Start, Work


def main() -> None:
    """Reads a start line and then chunks, until the caller closes the pipe."""
    commands = sys.stdin.buffer
    # What a library prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    start = Start.model_validate_json(commands.readline())
    try:
        answerer = Answerer(start.model, start.settings, start.settings.threads, start.key)
    except InputError as error:
        _say(answers, str(error))
        return
    while line := commands.readline():
        work = Work.model_validate_json(line)
        with pa.ipc.open_stream(commands.read(work.size)) as stream:
            chunk = stream.read_all()
        try:
            answerer.write(chunk, work.part)
        except OSError as error:
            _say(answers, f"{work.part} cannot be written: {error.strerror or error}; free space, then start again")
            return
        _say(answers, "done")


def _say(answers: IO[bytes], line: str) -> None:
    answers.write(line.replace("\n", " ").encode() + b"\n")
    answers.flush()


if __name__ == "__main__":
    main()
