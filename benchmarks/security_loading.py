"""What a sealed model and sealed rows cost beside open ones: seconds, and the memory of a fresh process."""

import json
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.serving_models import transformer_folder
from bentos.serving.records.personal_data import Redactor
from bentos.serving.sealing.folder import rewrap, seal_folder
from bentos.serving.sealing.keys import provider_of
from tasks.data.sealed_files import seal_file, unseal_file
from tests.tasks.keys import key_file

ROUNDS = 3
ROWS = 1_000_000

_LOAD = """
import json, sys, time
from pathlib import Path
from bentos.text_classifier.model import TextModel
from bentos.serving.process import settle_memory
folder, key = Path(sys.argv[1]), sys.argv[2] or None
started = time.perf_counter()
model = TextModel.load(folder, key=key)
seconds = time.perf_counter() - started
settle_memory()
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
rss, peak = (1e-3 * int(status[name].split()[0]) for name in ("VmRSS", "VmHWM"))
print(json.dumps({"seconds": seconds, "rss": rss, "peak": peak}))
"""


def costs_of_loading(folder: Path) -> list[dict[str, Any]]:
    """Figures by name and unit; `folder` is there to work in."""
    plain, sealed = transformer_folder(folder / "large", layers=6, width=768), folder / "large-sealed"
    shutil.copytree(plain, sealed)
    key, other = key_file(folder / "large.key"), key_file(folder / "large-other.key")
    size = sum(file.stat().st_size for file in plain.iterdir()) / 1e6
    figures = [
        ("size of the model", size, "MB"),
        ("seal it", seconds(lambda: seal_folder(sealed, provider_of(key))), "s"),
        ("rotate its key", 1e3 * seconds(lambda: rewrap(sealed, provider_of(key), provider_of(other))), "ms"),
    ]
    for name, measured in (("as it is", _loaded(plain, "")), ("sealed", _loaded(sealed, other))):
        figures += [
            (f"load it {name}", measured["seconds"], "s"),
            (f"memory when it is loaded {name}", measured["rss"], "MB"),
            (f"most memory on the way, {name}", measured["peak"], "MB"),
        ]
    figures += [*_rows(folder, other), ("mask 1,000 texts", 1e3 * seconds(_masked), "ms")]
    return [{"control": name, "figure": figure, "unit": unit} for name, figure, unit in figures]


def seconds(work: Callable[[], object]) -> float:
    """How long the work takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _loaded(model: Path, key: str) -> dict[str, float]:
    command = [sys.executable, "-c", _LOAD, str(model), key]
    runs = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(ROUNDS)]
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def _rows(folder: Path, key: str) -> list[tuple[str, float, str]]:
    rows, sealed = folder / "large.csv", folder / "large.csv.sealed"
    with rows.open("w") as file:
        file.writelines(f"a goal in minute {row} of the match,sport\n" for row in range(ROWS))
    size = rows.stat().st_size / 1e6
    sealing = seconds(lambda: seal_file(rows, sealed, key))
    opening = seconds(lambda: unseal_file(sealed, folder / "large-again.csv", key))
    return [("seal rows", size / sealing, "MB/s"), ("open sealed rows", size / opening, "MB/s")]


def _masked() -> None:
    mask = Redactor("mask")
    for number in range(1000):
        mask(f"call {number} now, ann@a.example")
