"""Where a local system keeps what it must remember. Only the edges (commands, flows) ask; stages are told.

What this project writes is its user's alone (`tasks/__init__.py` sets the umask). Only what a person asked for at a
place of their own, such as batch output, an export or `--report`, has the mode that their own umask gives.
"""

import os
import shutil
import stat
import tempfile
from pathlib import Path

from tasks.base.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def state_folder() -> Path:
    """`data/state`, or what MODEL_SERVICE_STATE names: database, runs, logs, feedback, `live.json`."""
    return Path(os.environ.get("MODEL_SERVICE_STATE") or ROOT / "data" / "state").absolute()


def open_state(folder: Path) -> None:
    """Makes a state folder where it is missing, and closes to other users one that an earlier version left open."""
    folder.mkdir(parents=True, exist_ok=True)
    found = folder.stat()
    # A folder of somebody else, or one that all users share as /tmp, is not ours to close.
    if found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX and found.st_mode & 0o077:
        folder.chmod(0o700)


def make_asked(folder: Path) -> None:
    """Makes a folder that a person asked for, and those above it, with the modes of the person's own umask."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        hand_over(made)


def hand_over(path: Path) -> None:
    """Gives a file or a tree that a person asked for the modes of the person's own umask."""
    mask = int(os.environ["MODEL_SERVICE_UMASK"], 8)
    for each in (path, *path.rglob("*")):
        each.chmod((0o777 if each.is_dir() else 0o666) & ~mask)


def free_bytes(folder: Path) -> int:
    """What the disk of `folder`, or of the nearest folder above it that is there, has left for this user."""
    return shutil.disk_usage(_nearest(folder)).free


def check_writable(folder: Path, name: str) -> None:
    """Writes into `folder`, or into the nearest folder above it that is there; nothing is left.

    Args:
        name: how a person knows the folder, or chose it.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        there = _nearest(folder)
        if not there.is_dir():
            raise InputError(f"{name}: {folder} cannot be written: {there} is a file, not a folder")
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise InputError(f"{name}: {folder} cannot be written: {error.strerror}") from error


def _nearest(folder: Path) -> Path:
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
