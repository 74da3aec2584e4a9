"""Real bentos for tests: the product's service over a tiny real model, laid out as BentoML's store lays it out.

`build` goes through BentoML; `lay_out` only copies, in milliseconds, for tests of what happens afterwards.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from bentos.serving.model_folder import describe
from bentos.serving.settings import SETTINGS
from tasks.base.manifests import Evaluation, Package, content_of
from tasks.base.settings import RolloutSettings, ServeSettings
from tasks.release.package import IN_BENTO, NAME, bento_model, bento_source, copy_code
from tests.bentos.text_classifier.model_folder import WORDS, grams_folder

SERVE = ServeSettings(port=0, workers=1, rollout=RolloutSettings(watch_minutes=0))


def turned(step: int) -> dict[str, list[str]]:
    """The same words under labels of another version, so that each version's answers are its own."""
    return {f"{label}-{step}": words for label, words in WORDS.items()}


def fails_over(package: Package, word: str) -> None:
    """Harms a package: it answers 500 to every text with `word`."""
    file = bento_model(package.path) / "model.onnx"
    model = onnx.load(str(file))
    table = next(entry for entry in model.graph.initializer if entry.name == "table")
    values = numpy_helper.to_array(table).copy()
    values[1 + [known for words in WORDS.values() for known in words].index(word)] = np.nan
    table.CopyFrom(numpy_helper.from_array(values, "table"))
    onnx.save(model, str(file))


def slows_down(package: Package, seconds: float) -> None:
    """Harms a package: each of its answers takes so much longer."""
    file = bento_source(package.path) / IN_BENTO / "predictor.py"
    code = file.read_text()
    begin = "        if len(texts) == 1 or _alike(texts):\n"
    assert begin in code
    file.write_text(code.replace(begin, f"        __import__('time').sleep({seconds})\n{begin}"))


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


def lay_out(folder: Path, step: int = 1, labels: int | None = None) -> Package:
    """A package of version `v<step>`, or `v<step>-<labels>` with another step's labels, without BentoML's own files."""
    version = f"v{step}" if labels is None else f"v{step}-{labels}"
    path = folder / "bentos" / NAME / version
    source = path / "src"
    copy_code(source)
    model = grams_folder(source / IN_BENTO / "model", words=turned(labels or step))
    describe(model, name=NAME, version=version)
    (source / IN_BENTO / SETTINGS).write_text(json.dumps({"workers": 1}))
    (path / "bento.yaml").write_text(f"name: {NAME}\nversion: {version}\n")
    return Package(tag=f"{NAME}:{version}", path=path, size_bytes=1, content=content_of(source))
