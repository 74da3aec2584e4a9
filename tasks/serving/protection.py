"""What a serving process is told of the security settings, and what stands before its start."""

import sys
from pathlib import Path

from bentos.text_classifier.manifest import KEY_VARIABLE
from tasks.serving.processes import Role
from tasks.serving.record import Version
from tasks.settings import SecuritySettings


def environment(security: SecuritySettings, state: Path, role: Role) -> dict[str, str]:
    """Variables for a worker; empty where everything is off."""
    told: dict[str, str] = {}
    if security.encrypt is not None:
        told[KEY_VARIABLE] = security.encrypt
    return told


def verified(command: list[str], version: Version) -> list[str]:
    """The command, behind the check of the bento's signature where one is asked for; see `verified.py`."""
    public_key = version.security.public_key
    if public_key is None:
        return command
    return [sys.executable, "-m", "tasks.serving.verified", str(public_key), str(version.path), *command]
