"""Which bentos are this state's own: those that it packaged. BentoML's store is shared by all states of a user."""

from collections.abc import Iterable
from pathlib import Path

from tasks.base.manifests import Record
from tasks.base.remembered import remember, remembered

PACKAGED = "packaged.jsonl"


class Packaged(Record):
    """A bento that this state put, or was about to put, into the store at `path`."""

    tag: str
    path: Path


def own(state: Path, tag: str, path: Path) -> None:
    """Notes that the bento at `path` is this state's; to be called before it is there.

    A crash in between then leaves a note without a bento, and never a bento that nobody removes.
    """
    noted = Packaged(tag=tag, path=path)
    remember(state / PACKAGED, Packaged, lambda kept: [*(one for one in kept if one.tag != tag), noted])


def packaged(state: Path) -> list[Packaged]:
    """What this state packaged, oldest first, whether or not the bento is there."""
    return remembered(state / PACKAGED, Packaged)


def disown(state: Path, tags: Iterable[str]) -> None:
    """Forgets bentos that are gone."""
    if gone := set(tags):
        remember(state / PACKAGED, Packaged, lambda kept: [one for one in kept if one.tag not in gone])
