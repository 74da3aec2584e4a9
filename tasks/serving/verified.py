"""`python -m tasks.serving.verified PUBLIC_KEY BENTO COMMAND...`: verifies a bento, then becomes its process.

Every start of a worker goes through here, a restart after a crash too, before any code of the bento runs.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

from tasks.errors import PipelineError
from tasks.package import bento_source
from tasks.signing import verify


def main(public_key: str, bento: str, *command: str) -> NoReturn:
    """Does not return when the bento is as it was signed."""
    try:
        verify(Path(bento), Path(public_key))
    except PipelineError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    os.chdir(bento_source(Path(bento)))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
