"""What recording predictions costs the service: `python -m benchmarks.prediction_log`.

CPU time, so that other work on the machine counts little: of one request in process (encode, run, decode), of
handing its prediction to the log, and of writing records, which happens at most `prediction_rate` times a
second after a first burst.

`--served ROUNDS` instead loads two workers in turn, one that records and one that does not (16 connections of
wrk, two seconds each, the order changed every round), and tells the median of the paired ratios: requests a
second, and the worker's CPU time a request, which other work on the machine changes less.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from bentos.serving.settings import RECORDS_VARIABLE
from bentos.text_classifier.decoding import Options
from bentos.text_classifier.model import TextModel
from bentos.text_classifier.prediction_log import PredictionLog, observe
from bentos.text_classifier.scope import ScopeRule
from bentos.text_classifier.settings import Settings
from tasks.verdict.scope import fit_scope
from tests.bentos.text_classifier.model_folder import WORDS, sentence, tokens_folder
from tests.bentos.text_classifier.servers import Process, worker

REQUESTS_A_SECOND = 4_000
"""What one worker answers at full load."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", type=int, default=20_000)
    parser.add_argument("--served", type=int, metavar="ROUNDS", help="only this: the cost under load, paired")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = served(options.served) if options.served else in_process(options.predictions)
    for name, value in figures.items():
        print(f"{name:<60}{value:>10.3f}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2))


def served(rounds: int) -> dict[str, float]:
    """Medians of what recording costs a worker under load, by name."""
    if shutil.which("wrk") is None:
        sys.exit("wrk is needed: apt-get install wrk")
    rates, cpu = [], []
    with tempfile.TemporaryDirectory() as scratch:
        folder = tokens_folder(Path(scratch) / "model")
        script = Path(scratch) / "post.lua"
        script.write_text(
            'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
            'wrk.body = [==[{"texts": ["the team scored a late goal and won the match"]}]==]\n'
        )
        with worker(folder, Path(scratch)) as plain:
            os.environ[RECORDS_VARIABLE] = str(Path(scratch) / "records")
            try:
                with worker(folder, Path(scratch)) as recording:
                    for process in (plain, recording):
                        # The first burst of records, and all first times, are over.
                        load(process, script)
                    for number in range(rounds):
                        order = (plain, recording) if number % 2 else (recording, plain)
                        seen = {process.url: load(process, script) for process in order}
                        rates.append(seen[recording.url][0] / seen[plain.url][0])
                        cpu.append(seen[recording.url][1] / seen[plain.url][1])
            finally:
                del os.environ[RECORDS_VARIABLE]
    return {
        "requests a second, recording over not": statistics.median(rates),
        "CPU time a request, recording over not": statistics.median(cpu),
        "rounds": rounds,
    }


def load(process: Process, script: Path) -> tuple[float, float]:
    """Requests a second, and seconds of the worker's CPU a request."""
    watched = psutil.Process(process.process.pid)
    before = sum(watched.cpu_times()[:2])
    command = ["wrk", "-t1", "-c16", "-d2s", "-s", str(script), f"{process.url}/predict"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) requests in ([\d.]+)s", said)
    if found is None or "Non-2xx" in said:
        sys.exit(said)
    requests = int(found[1])
    return requests / float(found[2]), (sum(watched.cpu_times()[:2]) - before) / requests


def in_process(predictions: int) -> dict[str, float]:
    """CPU time of each part, by name."""
    labels = list(WORDS)
    texts = [f"{sentence(labels[row % 3], 3 + row % 12)} {row}" for row in range(predictions)]
    settings = Settings()
    with tempfile.TemporaryDirectory() as scratch:
        model = TextModel.load(tokens_folder(Path(scratch) / "model"))
        answers = model.predict(texts)
        log = PredictionLog(Path(scratch), model, "v1", settings)
        log.add(texts[: settings.prediction_burst], answers[: settings.prediction_burst], "client", Options())
        log.close()
        started = time.process_time()
        for text, answer in zip(texts, answers, strict=True):
            log.add([text], [answer], "client", Options())
        handed = (time.process_time() - started) / len(texts)
    rule = ScopeRule(fit_scope(model, texts[:2000], texts[2000:2400]))
    started = time.process_time()
    for start in range(0, 4096, 64):
        observe(texts[start : start + 64], rule)
    described = (time.process_time() - started) / 4096
    share = handed * REQUESTS_A_SECOND + described * settings.prediction_rate
    return {
        "handing over, microseconds a prediction": handed * 1e6,
        "describing, microseconds a record": described * 1e6,
        f"share of a CPU at {REQUESTS_A_SECOND:,} requests a second": share,
        f"seconds of CPU for a first burst of {settings.prediction_burst:,}": described * settings.prediction_burst,
    }


if __name__ == "__main__":
    main()
