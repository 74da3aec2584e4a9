"""Batch prediction against the model in process: `python -m benchmarks.batch --model FOLDER [--rows N]`.

`in process` is one thread that encodes, runs and decodes texts that are in memory already, in batches of like
length; the others are whole runs of `batch_predict`, reading and writing included. Each is timed `--rounds`
times, in turn, and the median is told.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bentos.serving.cpus import allowed_cpus
from bentos.text_classifier.decoding import Options
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.predictor import Predictor
from tasks.base.settings import BatchSettings, SourceSettings
from tasks.batch import batch_predict
from tests.bentos.text_classifier.model_folder import WORDS, sentence, tokens_folder


def in_process(model: TextModel, texts: list[str]) -> None:
    """What the service does with texts that it holds."""
    predictor, options = Predictor(model), Options()
    settings = BatchSettings()
    for start in range(0, len(texts), settings.chunk_rows):
        chunk = sorted(texts[start : start + settings.chunk_rows], key=len)
        for first in range(0, len(chunk), settings.batch_size):
            batch = chunk[first : first + settings.batch_size]
            predictor.infer(batch, [options] * len(batch))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder; a tiny one for tests when not given")
    parser.add_argument("--texts", type=Path, help="a Parquet file with a column text; made-up ones when not given")
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        folder_of_model = options.model or tokens_folder(folder / "model")
        texts = _texts(options)
        pq.write_table(pa.table({"text": texts}), folder / "in.parquet")
        model = TextModel.load(folder_of_model)

        def whole(workers: int) -> Callable[[], object]:
            source = SourceSettings(source=str(folder / "in.parquet"))
            settings = BatchSettings(workers=workers)
            return lambda: batch_predict(source, folder / "out.parquet", folder_of_model, settings)

        ways: dict[str, Callable[[], object]] = {"in process": lambda: in_process(model, texts)}
        ways |= {f"batch, {workers} processes": whole(workers) for workers in sorted({1, allowed_cpus()})}
        seconds = {name: [] for name in ways}
        for _ in range(options.rounds):
            for name, way in ways.items():
                started = time.perf_counter()
                way()
                seconds[name].append(time.perf_counter() - started)
    rates = {name: len(texts) / statistics.median(took) for name, took in seconds.items()}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(texts):,} texts; most memory of the calling process {memory:,.0f} MiB")
    for name, rate in rates.items():
        print(f"{name:<22}{rate:>10,.0f} texts/s   {rate / rates['in process']:.0%} of in process")
    if options.json:
        options.json.write_text(json.dumps({"texts": len(texts), "rates": rates, "memory_mib": memory}, indent=2))


def _texts(options: argparse.Namespace) -> list[str]:
    if options.texts:
        found = pq.read_table(options.texts, columns=["text"]).column(0).to_pylist()
        return (found * (options.rows // len(found) + 1))[: options.rows]
    labels = list(WORDS)
    return [f"{sentence(labels[row % 3], 3 + row % 20)} {row}" for row in range(options.rows)]


if __name__ == "__main__":
    main()
