"""Every kind of task by name: one file each in this package, whose `KIND` says what differs."""

import importlib
import pkgutil

import numpy as np

import tasks.kinds
from bentos.text_classifier.decoding import decoder_of
from bentos.text_classifier.manifest import Manifest
from tasks.base.errors import InputError
from tasks.kinds.figures import Outcome
from tasks.kinds.kind import Kind

AUTO = "auto"
"""Stands for the kind that the labels themselves tell."""


def _found() -> dict[str, Kind]:
    names = [module.name for module in pkgutil.iter_modules(tasks.kinds.__path__)]
    modules = {name: importlib.import_module(f"{tasks.kinds.__name__}.{name}") for name in names}
    return {name: module.KIND for name, module in modules.items() if hasattr(module, "KIND")}


KINDS: dict[str, Kind] = _found()


def kind_of(name: str) -> Kind:
    """The kind of this name.

    Raises:
        InputError: there is none; the message lists what there is.
    """
    if name not in KINDS:
        raise InputError(f"there is no kind of task {name!r}; there are {', '.join((AUTO, *KINDS))}")
    return KINDS[name]


def found_by(form: str) -> str:
    """The name of the kind that labels in this form mean; see `Labels.found_by`."""
    return next(name for name, kind in KINDS.items() if kind.labels.found_by == form)


def standard_error(
    metric: str, logits: np.ndarray, targets: np.ndarray, kind: Kind, seed: int, rounds: int = 100
) -> float:
    """Standard error of a metric: of a proportion for accuracy, from `rounds` bootstrap draws for others."""
    rows = len(targets)
    if rows < 2:
        return 0.0
    if metric == "accuracy":
        share = kind.metrics(logits, targets)["accuracy"]
        return float(np.sqrt(share * (1.0 - share) / rows))
    generator = np.random.default_rng(seed)
    draws = (generator.integers(rows, size=rows) for _ in range(rounds))
    return float(np.std([kind.metrics(logits[draw], targets[draw])[metric] for draw in draws]))


def outcome_of(logits: np.ndarray, targets: np.ndarray, manifest: Manifest) -> Outcome:
    """What a model with this manifest makes of its logits."""
    return KINDS[manifest.task].outcome(decoder_of(manifest).scores(logits, manifest), targets, manifest)
