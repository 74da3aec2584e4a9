"""One run of the load generator wrk, and what it says."""

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple


class Load(NamedTuple):
    """What a run did: answers of any status, those that were no success, and latencies in milliseconds."""

    requests: int
    refused: int
    rate: float
    p50_ms: float
    p99_ms: float


def needed(*programs: str) -> None:
    """Ends the program when one of `programs` is not installed."""
    for program in programs:
        if not shutil.which(program):
            sys.exit(f"{program} is needed: apt-get install wrk util-linux")


def post(body: str, headers: dict[str, str] | None = None) -> str:
    """The script by which wrk posts the same JSON again and again."""
    lines = [
        f'wrk.headers["{name}"] = "{value}"'
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items()
    ]
    return "\n".join(['wrk.method = "POST"', *lines, f"wrk.body = [==[{body}]==]", ""])


def post_each(bodies: Path, headers: dict[str, str] | None = None) -> str:
    """The script by which wrk posts every line of the file `bodies` once."""
    return post("", headers) + (
        f'local bodies = {{}}\nfor line in io.lines("{bodies}") do bodies[#bodies + 1] = line end\n'
        "local sent = 0\n"
        'function request() sent = sent + 1; return wrk.format(nil, nil, nil, bodies[sent] or "") end\n'
    )


def run(url: str, script: Path, connections: int, seconds: int, before: Sequence[str] = ()) -> Load:
    """Posts by `script` to `url` from one thread; `before` stands before the command, such as taskset."""
    command = [*before, "wrk", "-t1", f"-c{connections}", "--latency", "-s", str(script), f"-d{seconds}s", url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    return Load(
        int(_found(r"(\d+) requests in", said)),
        int(refused[1]) if refused else 0,
        float(_found(r"Requests/sec:\s+([\d.]+)", said)),
        _milliseconds(_found(r"(?m)^\s+50%\s+(\S+)", said)),
        _milliseconds(_found(r"(?m)^\s+99%\s+(\S+)", said)),
    )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        sys.exit(f"wrk gave no figures:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    for unit, factor in (("us", 1e-3), ("ms", 1.0), ("s", 1e3), ("m", 6e4)):
        if text.endswith(unit):
            return round(float(text.removesuffix(unit)) * factor, 3)
    raise ValueError(text)
