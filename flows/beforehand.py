"""What of a retrain's parameters can be known to be unusable before anything starts."""

import os
from pathlib import Path

from flows.config import RetrainConfig
from tasks.errors import InputError


def check(config: RetrainConfig) -> None:
    """Refuses what would else end a run only when its stage comes.

    Raises:
        InputError: a file that is named cannot be read or written; the message names the option.
    """
    if config.report is not None:
        _writable(config.report, "--report")


def _writable(path: Path, option: str) -> None:
    if path.is_dir():
        raise InputError(f"{option}: {path} is a folder; give the path of a file")
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir():
        raise InputError(f"{option}: {path} cannot be written: {there} is a file, not a folder")
    if not os.access(path if path.exists() else there, os.W_OK):
        raise InputError(f"{option}: {path} cannot be written: no permission in {there}")
