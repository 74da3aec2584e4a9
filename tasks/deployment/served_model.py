"""A version that was packaged, and its model folder."""

import os
from pathlib import Path
from typing import NamedTuple

from bentos.serving.model_folder import KEY_VARIABLE
from tasks.base.errors import InputError
from tasks.deployment.supervisor.record import read_live
from tasks.release.ownership import packaged
from tasks.release.package import NAME, bento_model, store


class ServedModel(NamedTuple):
    """A model folder, and the source of the key that opens it where it is sealed."""

    folder: Path
    key: str | None = None
    """What MODEL_SERVICE_KEY names when None."""


def served_model(state: Path, bento: str | None) -> ServedModel:
    """The model of the bento that `served_bento` finds, with the key that the live version is opened by.

    Raises:
        InputError: there is no such bento, or nothing is live.
    """
    live = read_live(state)
    # A version of another key is opened by naming that.
    key = None if KEY_VARIABLE in os.environ or live is None else live.version.security.encrypt
    return ServedModel(bento_model(served_bento(state, bento)), key)


def served_bento(state: Path, bento: str | None) -> Path:
    """The bento tagged `bento` (NAME:VERSION or VERSION), that of the live version when None.

    Raises:
        InputError: there is no such bento, or nothing is live.
    """
    if bento is None:
        live = read_live(state)
        if live is None:
            raise InputError("no version is live: name a bento, or run a retrain first.")
        return live.version.path
    version = bento.removeprefix(f"{NAME}:")
    found = store() / version
    if not version or not bento_model(found).is_dir():
        listed = ", ".join(list(bentos_of(state))[-5:]) or "none"
        raise InputError(f"{bento}: there is no such bento in {store()}; the latest of this project: {listed}.")
    return found


def bentos_of(state: Path) -> dict[str, Path]:
    """Where the bentos lie that this state packaged or deployed, by tag in order; only those that are there."""
    live = read_live(state)
    deployed = {version.tag: version.path for version in live.versions} if live else {}
    places = {one.tag: one.path for one in packaged(state)} | deployed
    return {tag: path for tag, path in sorted(places.items()) if path.is_dir()}
