"""Retention: the last few versions and runs stay, older ones go; what is live or could be returned to never does.

Of the versions only those that the state packaged itself are counted and removed: the store is shared.
"""

import shutil
import time
from pathlib import Path

from tasks.base.manifests import Record
from tasks.deployment.supervisor import control
from tasks.deployment.supervisor.record import forget_versions, read_live
from tasks.release.ownership import Packaged, disown, packaged
from tasks.release.package import arriving_folder

RUNS = "runs"
STAGES = "stages"
_ABANDONED_SECONDS = 3600.0


class Removed(Record):
    """Names of what was removed, by kind, and the bytes that it held."""

    bentos: list[str]
    runs: list[str]
    stages: list[str]
    leftovers: list[str]
    freed_bytes: int


def prune(state: Path, retain: int) -> Removed:
    """Removes all but the newest `retain` bentos and runs, and stage results that none of these runs made.

    The live version and the good one before it stay however old they are. Copies that a killed
    packaging left half-written go after an hour. Whether a version was deployed, refused or never tried
    makes no difference; those of other states in the same store stay. To be called while no retrain is at work.
    """
    live = read_live(state)
    kept = {version.path for version in live.versions[-2:]} if live else set()
    own = packaged(state)
    tags = {one.path: one.tag for one in own}
    bentos = _beyond(sorted(path for path in tags if path.is_dir()), retain, kept)
    runs = _beyond(_folders(state / RUNS), retain, set())
    stages = _unused_stages(state, runs)
    leftovers = [
        path for one in own for path in _arriving(one) if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS
    ]
    freed = sum(_size(path) for path in (*bentos, *runs, *stages, *leftovers))
    # First off the list of versions to return to, then off the disk: never the other way round.
    forget_versions(state, {tags[path] for path in bentos})
    for path in (*bentos, *runs, *stages, *leftovers):
        shutil.rmtree(path)
    for path in bentos:
        for log in (control.folder(state) / "logs").glob(f"{path.name}.log*"):
            log.unlink()
    # A store that is not there may only be unmounted.
    disown(state, (one.tag for one in own if one.path.parent.is_dir() and not one.path.is_dir()))
    return Removed(
        bentos=_names(bentos),
        runs=_names(runs),
        stages=_names(stages),
        leftovers=_names(leftovers),
        freed_bytes=freed,
    )


def _folders(folder: Path) -> list[Path]:
    """The folders in `folder` by name, oldest first: versions and runs are named by their time."""
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _beyond(folders: list[Path], retain: int, kept: set[Path]) -> list[Path]:
    return [path for path in folders[: max(0, len(folders) - retain)] if path not in kept]


def _unused_stages(state: Path, removed_runs: list[Path]) -> list[Path]:
    """Stage results that were last written or taken up before the newest of the removed runs ended.

    Runs do not overlap, so no run that stays has used them; and a result that is gone is only made again.
    """
    if not removed_runs:
        return []
    ended = removed_runs[-1].stat().st_mtime
    return [path for path in _folders(state / STAGES) if _last_used(path) <= ended]


def _last_used(stage: Path) -> float:
    manifest = stage / "manifest.json"
    return max(path.stat().st_mtime for path in (stage, manifest) if path.exists())


def _arriving(one: Packaged) -> list[Path]:
    """The copies of a bento that were on their way into the store."""
    return sorted(arriving_folder(one.path).glob(f"{one.path.parent.name}-{one.path.name}-*"))


def _size(path: Path) -> int:
    return sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())


def _names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]
