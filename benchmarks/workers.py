"""Does a request cost more processor time where more workers share the socket?

`python -m benchmarks.workers` sends the same number of requests a second, when they are due, to one, two and four
workers of one thread each, of a tiny model and of a transformer. Needs a C compiler.
"""

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from benchmarks.serving import body, cpu_seconds, open_loop
from benchmarks.serving_models import tiny_folder, transformer_folder
from tests.bentos.text_classifier.servers import worker

MODELS = {"tiny": (tiny_folder, 3_000), "transformer": (transformer_folder, 600)}
"""Of each, requests a second that one worker answers without pains."""

WORKERS = (1, 2, 4)


def measure(folder: Path, workers: int, rate: int, seconds: int, generator: Path, work: Path) -> dict[str, float]:
    """Processor milliseconds a request, and latencies in milliseconds."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=2048))
        listener.set_inheritable(True)
        shared = ("--threads", "1", "--counters", str(work / f"counters-{workers}"))
        served = [
            stack.enter_context(worker(folder, work, *shared, listener=listener.fileno())) for _ in range(workers)
        ]
        processes = [psutil.Process(one.process.pid) for one in served]
        before = sum(map(cpu_seconds, processes))
        command = [str(generator), str(served[0].port), "64", str(rate), str(seconds)]
        said = json.loads(subprocess.run(command, input=body(10, 1), capture_output=True, check=True).stdout)
        spent = sum(map(cpu_seconds, processes)) - before
    return {"cpu_ms": 1000 * spent / (said["rate"] * seconds), "p50_ms": said["p50_ms"], "p99_ms": said["p99_ms"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=8, help="of each measurement")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        generator = open_loop(work)
        if generator is None:
            sys.exit("a C compiler is needed")
        print("| model | requests/s | workers | CPU ms a request | p50 ms | p99 ms |\n|---|---|---|---|---|---|")
        for name, (make, rate) in MODELS.items():
            folder = make(work / name)
            for workers in WORKERS:
                found = measure(folder, workers, rate, options.seconds, generator, work)
                print(
                    f"| {name} | {rate:,} | {workers} | {found['cpu_ms']:.3f} | {found['p50_ms']:.2f} | "
                    f"{found['p99_ms']:.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
