"""Which bentos are this state's own: those that it packaged. BentoML's store is shared by all states of a user."""

from collections.abc import Iterable
from pathlib import Path

from tasks.manifests import Record
from tasks.remembered import lines, remembered
from tasks.serving.record import read_live, write_whole

PACKAGED = "packaged.jsonl"


class Packaged(Record):
    """A bento that this state put, or was about to put, into the store at `path`."""

    tag: str
    path: Path


def own(state: Path, tag: str, path: Path) -> None:
    """Notes that the bento at `path` is this state's; to be called before it is there.

    A crash in between then leaves a note without a bento, and never a bento that nobody removes.
    """
    kept = [one for one in packaged(state) if one.tag != tag]
    write_whole(state / PACKAGED, lines([*kept, Packaged(tag=tag, path=path)]))


def packaged(state: Path) -> list[Packaged]:
    """What this state packaged, oldest first, whether or not the bento is there."""
    return remembered(state / PACKAGED, Packaged)


def disown(state: Path, tags: Iterable[str]) -> None:
    """Forgets bentos that are gone."""
    gone = set(tags)
    if gone:
        write_whole(state / PACKAGED, lines([one for one in packaged(state) if one.tag not in gone]))


def bentos_of(state: Path) -> dict[str, Path]:
    """Where the bentos lie that this state packaged or deployed, by tag in order; only those that are there."""
    live = read_live(state)
    deployed = {version.tag: version.path for version in live.versions} if live else {}
    places = {one.tag: one.path for one in packaged(state)} | deployed
    return {tag: path for tag, path in sorted(places.items()) if path.is_dir()}
