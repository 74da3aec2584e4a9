"""A new key for sealed bentos: their data keys are wrapped anew; nothing is trained, built or signed again."""

from pathlib import Path

from bentos.serving.model_folder import WRAPPED_KEY
from bentos.serving.sealing.folder import SealProblem, rewrap
from bentos.serving.sealing.keys import provider_of
from bentos.serving.sealing.problem import KeyProblem
from tasks.base.errors import InputError
from tasks.base.files import write_whole
from tasks.deployment.served_model import bentos_of
from tasks.deployment.supervisor.record import LIVE, note, read_live
from tasks.release.package import bento_model


def rotate(old: str, new: str, state: Path) -> list[str]:
    """Wraps the data key of every bento of this state that is sealed under `old` by `new`; the tags of those.

    The versions that `live.json` names are served with the new key from their next start on.

    Raises:
        InputError: a key cannot be used, or no bento is sealed under the old one.
    """
    try:
        before, after = provider_of(old), provider_of(new)
    except KeyProblem as error:
        raise InputError(str(error)) from error
    done, refused = [], []
    for tag, bento in bentos_of(state).items():
        if not (bento_model(bento) / WRAPPED_KEY).is_file():
            continue
        try:
            rewrap(bento_model(bento), before, after)
        except (KeyProblem, SealProblem) as error:
            refused.append(f"{bento.name}: {error}")
        else:
            done.append(tag)
    if not done:
        raise InputError(f"no bento of {state} is sealed under the old key. {' '.join(refused)}".strip())
    _serve_by(new, done, state)
    return done


def _serve_by(new: str, tags: list[str], state: Path) -> None:
    live = read_live(state)
    if live is None or not any(version.tag in tags for version in live.versions):
        return
    versions = [
        version.model_copy(update={"security": version.security.model_copy(update={"encrypt": new})})
        if version.tag in tags
        else version
        for version in live.versions
    ]
    write_whole(state / LIVE, live.model_copy(update={"versions": versions}).model_dump_json(indent=2) + "\n")
    note(state, "key rotated", live.version.tag, f"{len(tags)} bentos wrapped anew", live=live.version.tag)
