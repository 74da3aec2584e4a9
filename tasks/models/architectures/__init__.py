"""The model structures: one file each, found by importing this package's modules."""

import importlib
import pkgutil

from tasks.learning.job import Architecture

_REGISTRY: dict[str, Architecture] = {}
_PRIVATE: set[str] = set()


def register(architecture: Architecture, *, private: bool = False) -> Architecture:
    """Makes a structure available under its name; a `private` one trains within `train.privacy`."""
    _REGISTRY[architecture.name] = architecture
    if private:
        _PRIVATE.add(architecture.name)
    return architecture


def is_private(name: str) -> bool:
    """Whether the structure's training keeps a privacy budget."""
    return name in _PRIVATE


def architectures() -> dict[str, Architecture]:
    """Every structure by name; importing the modules here makes each register itself."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    return dict(sorted(_REGISTRY.items()))
