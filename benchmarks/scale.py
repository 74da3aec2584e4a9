"""Ingest, validate, split, train and score on ever more synthetic rows: is the time near-linear, is the memory bounded?

`python -m benchmarks.scale` prints one line a size and writes JSON; each stage runs in a process of its own, so
that its peak memory, or that of the largest process it starts, is its own. Trained, and converted, is one epoch of the
bag; scored is every row of the file, as `flows.predict` does it.
"""

import argparse
import json
import multiprocessing
import pickle
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from tasks.base.manifests import Checked, Converted, Dataset, Table
from tasks.base.settings import BatchSettings, DataSettings, SourceSettings, TrainSettings
from tasks.data.ingest import ingest
from tasks.data.preprocess import preprocess
from tasks.data.validate import validate

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
CLASSES = 20
WORDS = 12
SEED = 13


def write_rows(path: Path, rows: int) -> None:
    """`rows` lines of CSV: twelve Zipf-distributed words (one row in ten beyond ASCII), twenty classes."""
    generator = np.random.default_rng(13)
    words = np.array([f"w{number:x}" for number in range(50_000)])
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for start in range(0, rows, 100_000):
            size = min(100_000, rows - start)
            picked = words[np.minimum(generator.zipf(1.3, (size, WORDS)) - 1, len(words) - 1)]
            labels = generator.integers(CLASSES, size=size)
            file.writelines(
                f"{' '.join(row)} {'n' if place % 10 else 'nº'}{start + place},class {label}\n"
                for place, (row, label) in enumerate(zip(picked.tolist(), labels.tolist(), strict=True))
            )


def _ingest(before: Any, folder: Path) -> Table:
    return ingest(SourceSettings(source=str(folder / "rows.csv")), folder / "ingest", SEED)


def _validate(before: Table, folder: Path) -> Checked:
    return validate(before, DataSettings(), folder / "validate")


def _split(before: Checked, folder: Path) -> Dataset:
    return preprocess(before, None, None, DataSettings(), TrainSettings(), SEED, folder / "split")


def _train(before: Dataset, folder: Path) -> Converted:
    # TensorFlow takes memory that the stages before this one do without.
    from tasks.candidates.train import train
    from tasks.conversion.convert import convert
    from tasks.learning.job import Job

    hyper = {"epochs": 1, "seconds": None}
    trained = train("bag", Job(before, folder / "train", TrainSettings(), "standard", SEED, hyper))
    return convert(trained, before, folder / "converted")


def _score(before: Converted, folder: Path) -> None:
    from tasks.batch.run import batch_predict

    source = SourceSettings(source=str(folder / "rows.csv"))
    batch_predict(source, folder / "scored.parquet", before.folder, BatchSettings())


STAGES = {"ingest": _ingest, "validate": _validate, "split": _split, "train": _train, "score": _score}


def _stage(name: str, folder: Path, send: Any) -> None:
    """Runs one stage from what the one before has left, and sends (seconds, peak MiB)."""
    handed = folder / "before.pickle"
    before = pickle.loads(handed.read_bytes()) if handed.exists() else None
    start = time.perf_counter()
    result = STAGES[name](before, folder)
    seconds = time.perf_counter() - start
    handed.write_bytes(pickle.dumps(result))
    peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    send.send((seconds, max(peaks) / 1024))


def measure(rows: int, folder: Path) -> dict[str, float]:
    """Seconds and peak MiB of each stage on `rows` rows."""
    write_rows(folder / "rows.csv", rows)
    found: dict[str, float] = {"rows": rows, "megabytes": (folder / "rows.csv").stat().st_size / 1e6}
    context = multiprocessing.get_context("spawn")
    for name in STAGES:
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=_stage, args=(name, folder, send))
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{name} of {rows} rows failed with status {process.exitcode}")
        found[f"{name}_seconds"], found[f"{name}_mib"] = receive.recv()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--json", type=Path, default=Path("data/state/benchmarks/scale.json"))
    parser.add_argument("--folder", type=Path, help="where the rows lie; a temporary folder when not given")
    options = parser.parse_args()
    results = []
    print(f"{'rows':>12} {'MB':>7}" + "".join(f" {name:>9} s {'MiB':>6}" for name in STAGES))
    for rows in options.sizes:
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            found = measure(rows, folder)
        finally:
            shutil.rmtree(folder)
        results.append(found)
        figures = [(found[f"{name}_seconds"], found[f"{name}_mib"]) for name in STAGES]
        print(
            f"{rows:>12,} {found['megabytes']:>7.0f}" + "".join(f" {time:>11.1f} {mib:>6.0f}" for time, mib in figures),
            flush=True,
        )
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
