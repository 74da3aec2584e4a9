"""The model folder of a version that was packaged."""

from pathlib import Path

from tasks.errors import InputError
from tasks.package import NAME, bento_model, store
from tasks.serving.record import read_live


def served_model(state: Path, bento: str | None) -> Path:
    """The model folder of the bento tagged `bento` (NAME:VERSION or VERSION), of the live version when None.

    Raises:
        InputError: there is no such bento, or nothing is live.
    """
    if bento is None:
        live = read_live(state)
        if live is None:
            raise InputError("no version is live: name a bento, or run a retrain first.")
        return bento_model(live.version.path)
    version = bento.removeprefix(f"{NAME}:")
    folder = bento_model(store() / version)
    if not version or not folder.is_dir():
        known = sorted(path.name for path in store().glob("*") if path.is_dir())
        listed = ", ".join(known[-5:]) or "none"
        raise InputError(f"{bento}: there is no such bento in {store()}; the latest there: {listed}.")
    return folder
