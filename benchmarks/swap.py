"""How many requests break when the live version is swapped under load? `python -m benchmarks.swap`

The real service over a tiny model, one worker; clients hold 16 or 64 keep-alive connections, and
others connect anew for each request, while the version is swapped again and again. A request fails
when it gets no complete 200 answer; it is wrong when its label is not of the version that it names.
"""

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tasks.base.manifests import Package
from tasks.base.settings import ServeSettings
from tasks.deployment.supervisor import lifecycle
from tasks.deployment.supervisor.address import address_of
from tasks.deployment.supervisor.record import Version
from tests.tasks.deployment.supervisor.bento import lay_out
from tests.tasks.deployment.supervisor.traffic import traffic

LOADS = ({"kept": 16}, {"kept": 64}, {"fresh": 8}, {"kept": 32, "pause": 0.5}, {"kept": 16, "fresh": 4})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        packages = [lay_out(Path(folder), step) for step in (1, 2)]
        serve = ServeSettings(port=0, workers=1)
        running = lifecycle.start(state, *address_of(serve))
        try:
            lifecycle.swap(state, Version.of(packages[0], serve), "deployed", "first")
            print(f"{'connections':34}{'swaps':>6}{'requests':>10}{'failed':>8}{'wrong':>7}{'p50 ms':>8}{'p99 ms':>8}")
            for load in LOADS:
                row = asyncio.run(_measure(state, running, packages, serve, options.swaps, load))
                rows.append(row)
                print(
                    f"{row['connections']:34}{row['swaps']:6}{row['requests']:10}{row['failed']:8}{row['wrong']:7}"
                    f"{row['p50_ms']:8.1f}{row['p99_ms']:8.1f}",
                    flush=True,
                )
                for reason in row["reasons"]:
                    print(f"    {reason}")
        finally:
            lifecycle.stop(state)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 1 if any(row["failed"] or row["wrong"] for row in rows) else 0


async def _measure(
    state: Path,
    running: dict[str, Any],
    packages: list[Package],
    serve: ServeSettings,
    swaps: int,
    load: dict[str, Any],
) -> dict[str, Any]:
    taken = []
    async with traffic(running["host"], running["port"], **load) as tally:
        await asyncio.sleep(0.5)
        for number in range(swaps):
            version = Version.of(packages[(number + 1) % 2], serve)
            started = time.perf_counter()
            await asyncio.to_thread(lifecycle.swap, state, version, "deployed", f"swap {number}")
            taken.append(time.perf_counter() - started)
            await asyncio.sleep(0.5)
        await asyncio.sleep(4)  # the last drain
    ordered = sorted(tally.latencies_ms)
    return {
        "connections": ", ".join(f"{name} {value:g}" for name, value in load.items()),
        "swaps": swaps,
        "requests": tally.total,
        "failed": len(tally.failed),
        "wrong": len(tally.wrong),
        "p50_ms": statistics.median(ordered),
        "p99_ms": ordered[int(len(ordered) * 0.99)],
        "swap_seconds": statistics.median(taken),
        "reasons": sorted(set(tally.failed + tally.wrong))[:5],
    }


if __name__ == "__main__":
    sys.exit(main())
