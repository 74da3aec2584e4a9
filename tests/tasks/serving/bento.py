"""Real bentos for tests: the product's service over a tiny real model, laid out as BentoML's store lays it out.

`build` goes through BentoML; `lay_out` only copies, in milliseconds, for tests of what happens afterwards.
"""

import json
import shutil
from pathlib import Path

import msgspec

from bentos.text_classifier import manifest
from bentos.text_classifier.settings import SETTINGS
from tasks.manifests import Evaluation, Package, content_of
from tasks.package import IN_BENTO, NAME, SOURCE
from tasks.settings import ServeSettings
from tests.bentos.model_folder import WORDS, grams_folder

SERVE = ServeSettings(port=0, workers=1)


def turned(step: int) -> dict[str, list[str]]:
    """The same words under labels of another version, so that each version's answers are its own."""
    return {f"{label}-{step}": words for label, words in WORDS.items()}


def known(step: int) -> list[tuple[str, str]]:
    return [(" ".join(words[:3]), label) for label, words in turned(step).items()]


def evaluation(folder: Path, step: int = 1) -> Evaluation:
    """An evaluated model folder whose labels end in `-step`."""
    model = grams_folder(folder / f"model-{step}", words=turned(step))
    return Evaluation(
        folder=model,
        metrics={},
        per_class={},
        confusion=[],
        calibration={},
        predictions=folder / "predictions.parquet",
        content=content_of(model),
    )


def lay_out(folder: Path, step: int = 1) -> Package:
    """A package of version `v<step>` without BentoML's own files."""
    version = f"v{step}"
    path = folder / "bentos" / NAME / version
    source = path / "src"
    shutil.copytree(SOURCE, source / IN_BENTO, ignore=shutil.ignore_patterns("__pycache__", "model"))
    shutil.copy(SOURCE.parent / "__init__.py", source / IN_BENTO.parent)
    model = grams_folder(source / IN_BENTO / "model", words=turned(step))
    described = manifest.parse((model / manifest.MANIFEST).read_bytes())
    described = msgspec.structs.replace(described, name=NAME, version=version)
    (model / manifest.MANIFEST).write_bytes(manifest.dump(described))
    (source / IN_BENTO / SETTINGS).write_text(json.dumps({"workers": 1}))
    return Package(tag=f"{NAME}:{version}", path=path, size_bytes=1, content=content_of(source))
