"""The served model in other servers' forms: one file a form, found by importing this package's modules."""

import importlib
import pkgutil
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bentos.serving.model_folder import MANIFEST
from bentos.text_classifier.manifest import GRAPH
from bentos.text_classifier.model import TextModel
from tasks.base.errors import InputError, PipelineError
from tasks.base.manifests import Converted, Evaluation, Record
from tasks.base.state import hand_over, make_asked

TOLERANCE = 1e-3
TEXTS = ["a first text", "", "another one, somewhat longer than the first", "\u4e2d\u6587 text", "qzx wvk"]
"""What an export is compared on with the model that it was made of."""


class Form(NamedTuple):
    """A form to export to.

    `write` fills the folder of a new version. `check` loads what was written and gives its logits for
    `TEXTS`; they must be those of the model folder that `reference` names. A `versioned` form's
    versions are folders named 1, 2, and so on.
    """

    name: str
    write: Callable[[Converted, Evaluation, Path], None]
    check: Callable[[Path], np.ndarray]
    reference: Callable[[Converted, Evaluation], Path]
    versioned: bool = False


class Exported(Record):
    """Where an export lies and by how much its logits differ at most from the model's own."""

    kind: str
    path: Path
    size_bytes: int
    difference: float


_REGISTRY: dict[str, Form] = {}


def register(form: Form) -> Form:
    """Makes a form available under its name."""
    _REGISTRY[form.name] = form
    return form


def forms() -> dict[str, Form]:
    """Every form by name; importing the modules here makes each register itself."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_REGISTRY.items()))


def parse(pairs: tuple[str, ...]) -> list[tuple[str, Path]]:
    """`KIND=DIR` pairs taken apart.

    Raises:
        InputError: a pair names no form or no folder.
    """
    parsed = []
    for pair in pairs:
        kind, _, folder = pair.partition("=")
        if kind not in forms() or not folder:
            raise InputError(f"--export: {pair!r} is not KIND=DIR with KIND one of {', '.join(forms())}")
        parsed.append((kind, Path(folder)))
    return parsed


def export(kind: str, target: Path, converted: Converted, evaluation: Evaluation) -> Exported:
    """Writes the model below `target` in the form `kind`, loads it again and compares its answers.

    A versioned form gets the next number there; another one replaces what an earlier export left.

    Raises:
        InputError: `target` cannot be written.
        PipelineError: what was written does not load, or answers otherwise.
    """
    form = forms()[kind]
    try:
        make_asked(target)
        place = target / (str(_next_version(target)) if form.versioned else "model")
        unfinished = target / f".{place.name}.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
    except OSError as error:
        raise InputError(f"--export: {target} cannot be written: {error.strerror}") from error
    try:
        form.write(converted, evaluation, unfinished)
        difference = _compare(form, unfinished, form.reference(converted, evaluation))
        hand_over(unfinished)
        shutil.rmtree(place, ignore_errors=True)
        unfinished.rename(place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    size = sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
    return Exported(kind=kind, path=place, size_bytes=size, difference=difference)


def copy_graph(evaluation: Evaluation, folder: Path) -> None:
    """The served graph, with the file that holds its weights where they are too large for it."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in evaluation.folder.glob(f"{GRAPH}*"):
        shutil.copyfile(file, folder / file.name)


def copy_contract(evaluation: Evaluation, folder: Path) -> None:
    """What a client needs beside the graph: `model.json`, the encoders' files, `labels.txt` in the logits' order."""
    folder.mkdir(parents=True, exist_ok=True)
    model = TextModel.load(evaluation.folder)
    for name in [MANIFEST, *(settings.file for settings in model.manifest.encoders)]:
        shutil.copyfile(evaluation.folder / name, folder / name)
    labels = [label.replace("\n", " ") for label in model.manifest.labels]
    (folder / "labels.txt").write_text("\n".join(labels) + "\n", "utf-8")


def _compare(form: Form, folder: Path, reference: Path) -> float:
    try:
        logits = form.check(folder)
    except Exception as error:  # each form's own library raises its own
        raise PipelineError(f"the {form.name} export does not load again: {error}") from error
    model = TextModel.load(reference)
    difference = float(np.abs(logits - model.run(model.encode(TEXTS))).max())
    if not difference <= TOLERANCE:
        raise PipelineError(f"the {form.name} export answers otherwise: its logits differ by up to {difference:.3g}")
    return difference


def _next_version(folder: Path) -> int:
    return 1 + max((int(path.name) for path in folder.iterdir() if path.name.isdigit()), default=0)
