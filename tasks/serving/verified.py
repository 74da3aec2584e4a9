"""`python -m tasks.serving.verified PUBLIC_KEY BENTO COMMAND...`: verifies a bento, then becomes its process.

Every start of a worker goes through here, a restart after a crash too, before any code of the bento runs.
"""

import os
import sys
from pathlib import Path

from tasks.errors import PipelineError
from tasks.signing import verify
from tasks.state import bento_source


def main(public_key: str, bento: str, *command: str) -> int:
    """Does not return when the bento is as it was signed."""
    try:
        verify(Path(bento), Path(public_key))
    except PipelineError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    os.chdir(bento_source(Path(bento)))
    os.execv(command[0], command)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
