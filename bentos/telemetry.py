"""What libraries would tell their makers, and the variables that keep them from it.

Importing `bentos`, and so `tasks` or `flows`, sets the variables before any library is imported: most read theirs
only then. What a person has set stays.
"""

import os
from collections.abc import Mapping, MutableMapping
from types import MappingProxyType

SWITCHES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        # From its first import on: an identity of the device in the user's cache folder, events, and uploads of them.
        "onnxruntime": {"ORT_DISABLE_TELEMETRY": "1"},
        "bentoml": {"BENTOML_DO_NOT_TRACK": "True"},
        # The server sends a heartbeat; commands at a terminal and new installations send events.
        "prefect": {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"},
        "huggingface_hub": {"HF_HUB_DISABLE_TELEMETRY": "1"},
        # Not in the locked version any more, but in those before.
        "great_expectations": {"GX_ANALYTICS_ENABLED": "false"},
        # Where `--runner ray` is installed.
        "ray": {"RAY_USAGE_STATS_ENABLED": "0"},
    }
)
"""Variables and their values by the library that reads them."""

SILENT = ("tensorflow", "keras", "tf2onnx", "onnx", "optuna", "dask", "duckdb", "tokenizers", "cleanlab", "sklearn")
"""Libraries that were looked through and send nothing, so that there is nothing to switch off."""

SERVING = ("onnxruntime", "bentoml")
"""Those of them that a bento runs on."""


def variables(*libraries: str) -> dict[str, str]:
    """The variables of these libraries, or of all."""
    return {name: value for library in libraries or SWITCHES for name, value in SWITCHES[library].items()}


def switch_off(environ: MutableMapping[str, str] = os.environ) -> None:
    """Sets what is missing; processes started from here inherit it."""
    for name, value in variables().items():
        environ.setdefault(name, value)


def left_on(library: str, environ: Mapping[str, str] = os.environ) -> list[str]:
    """The library's variables that somebody has set to something else."""
    return [name for name, value in SWITCHES[library].items() if environ.get(name, "").lower() != value.lower()]
