"""Requests a second, latency and CPU of the service beside other ways to serve the same model.

    python -m benchmarks.serving [--seconds 5] [--rounds 3] [--servers worker,bentoml,...] [--json FILE]

The servers take turns; of the rounds the medians are shown.

Needs wrk and a C compiler (for the open-loop generator), and two CPUs: the server is pinned to the
first, the load generator to the second. LitServe is installed into a virtual environment of its own
under --cache; without a network it is skipped, and the table says so.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from benchmarks import wrk
from benchmarks.serving_models import tiny_folder, transformer_folder
from bentos.serving.process import ALLOCATOR

ROOT = Path(__file__).resolve().parent.parent
SERVERS = ("worker", "bentoml", "plain", "fastapi", "litserve")
SERVER_CPU, LOAD_CPU = "0", "1"


class Case(NamedTuple):
    model: str
    words: int
    texts: int
    connections: int


CASES = (
    *(Case("tiny", 10, 1, connections) for connections in (1, 16, 64)),
    Case("tiny", 200, 1, 16),
    Case("tiny", 10, 64, 4),
    *(Case("transformer", 10, 1, connections) for connections in (1, 16, 64)),
    Case("transformer", 200, 1, 16),
    Case("transformer", 10, 64, 4),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="of all measurements")
    parser.add_argument("--servers", default=",".join(SERVERS))
    parser.add_argument("--models", default="tiny,transformer")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--cache", type=Path, default=ROOT / "data" / "state" / "benchmarks")
    options = parser.parse_args()
    wrk.needed("wrk", "taskset")
    cases = [case for case in CASES if case.model in options.models.split(",")]
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        folders = {"tiny": tiny_folder(work / "tiny"), "transformer": transformer_folder(work / "transformer")}
        generator = open_loop(work)
        pythons = {server: _python(server, options.cache) for server in options.servers.split(",")}
        for server in [server for server, python in pythons.items() if python is None]:
            print(f"{server}: skipped, it could not be installed", flush=True)
        for model in dict.fromkeys(case.model for case in cases):
            rounds: list[list[dict[str, Any]]] = []
            for _ in range(options.rounds):
                rows = _ceilings(folders[model], model, options.seconds)
                for server, python in pythons.items():
                    if python is None:
                        continue
                    with _serving(server, python, folders[model], work) as process:
                        measured = [
                            _measure(server, process, case, work, options.seconds)
                            for case in cases
                            if case.model == model
                        ]
                        if generator:
                            alone = next(row for row in measured if row["texts"] == 1 and row["connections"] == 16)
                            measured.append(_at_load(server, process, alone, generator, work, options.seconds))
                        rows += measured
                rounds.append(rows)
            medians = [_median(same) for same in zip(*rounds, strict=True)]
            results += medians
            _show(results, medians)
    if options.json:
        options.json.write_text(json.dumps({"cpus": psutil.cpu_count(), "results": results}, indent=2) + "\n")


def _median(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of the same measurement, made several times."""
    return {
        name: statistics.median(row[name] for row in rows) if isinstance(value, float) else value
        for name, value in rows[0].items()
    }


class Process(NamedTuple):
    port: int
    tree: psutil.Process


@contextmanager
def _serving(server: str, python: str, folder: Path, work: Path) -> Iterator[Process]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    at = ["--port", str(port)]
    commands = {
        "worker": [python, "-m", "bentos.serving.worker", "text_classifier", *at],
        "bentoml": [python, "-m", "bentoml", "serve", "bentos.text_classifier.service:TextClassifier", *at],
        "plain": [python, "-m", "bentoml", "serve", "benchmarks.serving_peers:Plain", *at],
        "fastapi": [python, "benchmarks/serving_peers.py", str(port)],
        "litserve": [python, "benchmarks/serving_litserve.py", str(port)],
    }
    environment = os.environ | {
        "MODEL_SERVICE_MODEL": str(folder),
        "BENTOML_HOME": str(work / "bentoml"),
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
    }
    if server == "worker":
        # As the supervisor starts it.
        environment = ALLOCATOR | environment
    (work / "bentoml").mkdir(exist_ok=True)
    log = work / f"{server}.log"
    with log.open("wb") as stream:
        started = time.monotonic()
        process = subprocess.Popen(
            ["taskset", "-c", SERVER_CPU, *commands[server]],
            cwd=ROOT, env=environment, stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
    try:
        while not _answers(port):
            if process.poll() is not None or time.monotonic() - started > 120:
                sys.exit(f"{server} did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.02)
        print(f"{server}: first answer after {time.monotonic() - started:.2f} s", flush=True)
        yield Process(port, psutil.Process(process.pid))
    finally:
        process.send_signal(signal.SIGINT if server in ("bentoml", "plain") else signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        # LitServe leaves its workers behind.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _answers(port: int) -> bool:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict", b'{"texts": ["w1"]}', {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def body(words: int, texts: int) -> bytes:
    text = [" ".join(f"w{(start + word) % 997}" for word in range(words)) for start in range(texts)]
    return json.dumps({"texts": text}).encode()


def _measure(server: str, process: Process, case: Case, work: Path, seconds: int) -> dict[str, Any]:
    script = work / "post.lua"
    script.write_text(wrk.post(body(case.words, case.texts).decode()))
    url = f"http://127.0.0.1:{process.port}/predict"
    pinned = ("taskset", "-c", LOAD_CPU)
    wrk.run(url, script, case.connections, 1, pinned)
    before = cpu_seconds(process.tree)
    load = wrk.run(url, script, case.connections, seconds, pinned)
    cpu = cpu_seconds(process.tree) - before
    return {
        "server": server, **case._asdict(),
        "requests_per_second": load.rate, "p50_ms": load.p50_ms, "p99_ms": load.p99_ms,
        "cpu_seconds_per_1000_texts": 1000 * cpu / max(load.requests * case.texts, 1), "refused": load.refused,
    }  # fmt: skip


def _at_load(
    server: str, process: Process, alone: dict[str, Any], generator: Path, work: Path, seconds: int
) -> dict[str, Any]:
    """Latency at 70 % of the throughput that was measured with 16 connections, requests sent when they are due."""
    rate = 0.7 * alone["requests_per_second"]
    command = ["taskset", "-c", LOAD_CPU, str(generator), str(process.port), "64", f"{rate:.1f}", str(seconds)]
    ran = subprocess.run(command, input=body(alone["words"], 1), capture_output=True, check=True).stdout
    found = json.loads(ran)
    return {
        "server": server, "model": alone["model"], "words": alone["words"], "texts": 1, "connections": "open, 70 %",
        "requests_per_second": found["rate"], "p50_ms": found["p50_ms"], "p99_ms": found["p99_ms"],
        "refused": found["refused"],
    }  # fmt: skip


_CEILING = """
import json, sys, time
from pathlib import Path
from bentos.text_classifier.model import TextModel
model = TextModel.load(Path(sys.argv[1]))
texts, batch, seconds = json.loads(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
group = (texts * batch)[:batch]
model.predict(group)
start, cpu, done = time.perf_counter(), time.process_time(), 0
while time.perf_counter() - start < seconds:
    model.predict(group)
    done += batch
print(json.dumps({"rate": done / (time.perf_counter() - start), "cpu": (time.process_time() - cpu) / done}))
"""


def _ceilings(folder: Path, model: str, seconds: int) -> list[dict[str, Any]]:
    """Texts a second of the model in process, on the server's CPU."""
    rows = []
    for words, batch in ((10, 1), (10, 16), (10, 64), (200, 1), (200, 16)):
        texts = json.dumps(json.loads(body(words, 64))["texts"])
        command = ["taskset", "-c", SERVER_CPU, sys.executable, "-c", _CEILING]
        command += [str(folder), texts, str(batch), str(seconds)]
        environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
        ran = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
        found = json.loads(ran)
        rows.append(
            {"server": "in process", "model": model, "words": words, "texts": batch, "connections": "-",
             "requests_per_second": found["rate"] / batch, "cpu_seconds_per_1000_texts": 1000 * found["cpu"]}
        )  # fmt: skip
    return rows


_COLUMNS = {
    "server": "server", "model": "model", "words": "words", "texts": "texts", "connections": "connections",
    "requests_per_second": "requests/s", "p50_ms": "p50 ms", "p99_ms": "p99 ms",
    "cpu_seconds_per_1000_texts": "CPU s / 1,000 texts", "refused": "refused",
}  # fmt: skip


def _show(all_rows: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    if len(all_rows) == len(rows):
        print("|", " | ".join(_COLUMNS.values()), "|\n" + "|---" * len(_COLUMNS) + "|")
    for row in rows:
        cells = (row.get(name, "") for name in _COLUMNS)
        print(
            "|", " | ".join(f"{cell:,.3f}" if isinstance(cell, float) else str(cell) for cell in cells), "|", flush=True
        )


def cpu_seconds(tree: psutil.Process) -> float:
    """Of a process and those that it started."""
    total = 0.0
    for process in [tree, *tree.children(recursive=True)]:
        times = process.cpu_times()
        total += times.user + times.system
    return total


def open_loop(work: Path) -> Path | None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        print("no C compiler: the open-loop rows are left out")
        return None
    program = work / "open_loop"
    source = Path(__file__).with_name("open_loop.c")
    subprocess.run([compiler, "-D_GNU_SOURCE", "-O2", "-o", str(program), str(source), "-lm"], check=True)
    return program


def _python(server: str, cache: Path) -> str | None:
    """The interpreter to run `server` with; LitServe's is made on first use."""
    if server != "litserve":
        return sys.executable
    place = cache / "litserve"
    python = place / "bin" / "python"
    if not (place / "installed").exists():
        packages = ["litserve==0.2.19", "numpy", "onnxruntime-gpu", "tokenizers", "msgspec"]
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        installed = subprocess.run(
            [str(python), "-m", "pip", "install", "-q", *packages], capture_output=True, check=False
        )
        if installed.returncode:
            return None
        (place / "installed").touch()
    return str(python)


if __name__ == "__main__":
    main()
