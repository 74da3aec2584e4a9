"""Does a worker's memory stay flat? `python -m benchmarks.memory [--requests 100000] [--model FOLDER]`

One worker that records its predictions answers requests of one text each, of 2 to 6,000 words, from 16 kept
connections. Needs wrk.
"""

import argparse
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from benchmarks.serving_models import tiny_folder
from tests.bentos.text_classifier.servers import Process, worker

BODIES = 400
BLOCK_SECONDS = 10
CONNECTIONS = 16
_WORDS = ("parcel", "late", "Monday", "refund", "请问", "密码", "card", "payment", "and", "où", "naïve", "zero")
_SCRIPT = """
local bodies = {}
for line in io.lines("%s") do bodies[#bodies + 1] = line end
local at = 0
request = function()
  at = at %% #bodies + 1
  return wrk.format("POST", "/predict", {["Content-Type"] = "application/json"}, bodies[at])
end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--model", type=Path, help="a model folder; a tiny one when not given")
    options = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("wrk is needed: apt-get install wrk")
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        script = _load(work)
        model = options.model or tiny_folder(work / "model")
        settings = work / "service.json"
        settings.write_text(json.dumps({"records": str(work / "records")}))
        with worker(model, work, "--settings", str(settings)) as served:
            _ask(served, script, options.requests)


def _ask(served: Process, script: Path, requests: int) -> None:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{BLOCK_SECONDS}s", "-s", str(script), f"{served.url}/predict"]
    memory = psutil.Process(served.process.pid).memory_info
    done = 0
    while done < requests:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        if "Non-2xx" in said:
            sys.exit(f"not every request was answered:\n{said}")
        done += int(re.findall(r"(\d+) requests in", said)[0])
        print(f"{done:9,} requests  {memory().rss / 1e6:8.1f} MB resident", flush=True)


def _load(work: Path) -> Path:
    """The script for wrk, and beside it the bodies that it sends in turn."""
    generator = random.Random(7)
    bodies = work / "bodies"
    with bodies.open("w", encoding="utf-8") as stream:
        for number in range(BODIES):
            size = generator.randint(1, 3000 if number % 20 == 0 else 120)
            text = " ".join(f"{generator.choice(_WORDS)} {generator.randrange(99_999)}" for _ in range(size))
            stream.write(json.dumps({"texts": [text]}, ensure_ascii=False) + "\n")
    script = work / "load.lua"
    script.write_text(_SCRIPT % bodies)
    return script


if __name__ == "__main__":
    main()
