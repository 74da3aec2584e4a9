"""Verifies a bento, then becomes its process:
`python -m tasks.deployment.supervisor.verified TRUSTED TAG BENTO COMMAND...`.

TRUSTED is the path of a public key, or `SigstoreSettings` as JSON; TAG is the version that the bento must be.
Every start of a worker goes through here, a restart after a crash too, before any code of the bento runs.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

from tasks.base.errors import PipelineError
from tasks.base.settings import SigstoreSettings
from tasks.release.package import bento_source
from tasks.release.signing import verify


def main(trusted: str, tag: str, bento: str, *command: str) -> NoReturn:
    """Does not return when the bento is as it was signed and is that version."""
    try:
        by = SigstoreSettings.model_validate_json(trusted) if trusted.startswith("{") else Path(trusted)
        verify(Path(bento), by, tag)
    except PipelineError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    os.chdir(bento_source(Path(bento)))
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
