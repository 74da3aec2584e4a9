"""Counters in Prometheus' text format that add up over worker processes.

Each process owns one small file of float64 counters, mapped into memory, so that counting is one
addition. Whoever is asked for `/metrics` adds up the files of the folder. The files of processes
that have ended are merged into one, so that counts never fall and files never pile up.
"""

import fcntl
import json
import mmap
import os
import struct
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds."""

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
"""Upper bounds in texts."""

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_SUFFIX = ".counters"
_ENDED = "ended" + _SUFFIX
_LOCK = "lock"

_HELP = {
    "model_service_requests_total": ("counter", "Requests answered, by route and status."),
    "model_service_request_seconds": ("histogram", "Time from the request's first byte to its answer."),
    "model_service_texts_total": ("counter", "Texts answered by the model."),
    "model_service_batch_texts": ("histogram", "Texts in each run of the model."),
    "model_service_batch_seconds_total": ("counter", "Time in the model, encoding and decoding included."),
    "model_service_disconnects_total": ("counter", "Requests whose client left before the answer."),
    "model_service_feedback_total": ("counter", "Feedback records stored."),
}


class Counters:
    """The counters of this process, in `folder` where one is given, else in memory alone."""

    def __init__(self, folder: Path | None, routes: Sequence[str], statuses: Sequence[int]) -> None:
        self.folder = folder
        self._routes = {route: index for index, route in enumerate(routes)}
        self._statuses = {status: index for index, status in enumerate(statuses)}
        self._latency_width = len(LATENCY_BUCKETS) + 2
        names = [
            f'model_service_requests_total{{route="{route}",status="{status}"}}'
            for route in routes
            for status in statuses
        ]
        self._latency_start = len(names)
        for route in routes:
            names += _histogram("model_service_request_seconds", f'route="{route}",', LATENCY_BUCKETS)
        self._batch_start = len(names)
        names += _histogram("model_service_batch_texts", "", BATCH_BUCKETS)
        self._single = len(names)
        names += [
            "model_service_texts_total",
            "model_service_batch_seconds_total",
            "model_service_disconnects_total",
            "model_service_feedback_total",
        ]
        self.names = names
        self._map = None if folder is None else _create(folder, names)
        self._values: memoryview[float] = (
            memoryview(bytearray(8 * len(names))).cast("d") if self._map is None else _values(self._map)
        )

    def request(self, route: str, status: int, seconds: float) -> None:
        """Counts an answer."""
        index = self._routes[route]
        self._values[index * len(self._statuses) + self._statuses[status]] += 1.0
        start = self._latency_start + index * self._latency_width
        self._values[start + bisect_left(LATENCY_BUCKETS, seconds)] += 1.0
        self._values[start + self._latency_width - 1] += seconds

    def batch(self, texts: int, seconds: float) -> None:
        """Counts a model run."""
        self._values[self._batch_start + bisect_left(BATCH_BUCKETS, texts)] += 1.0
        self._values[self._batch_start + len(BATCH_BUCKETS) + 1] += texts
        self._values[self._single] += texts
        self._values[self._single + 1] += seconds

    def disconnect(self) -> None:
        self._values[self._single + 2] += 1.0

    def feedback(self) -> None:
        self._values[self._single + 3] += 1.0

    def total(self) -> dict[str, float]:
        """Every series with its value over all processes, ended ones included."""
        if self.folder is None:
            return dict(zip(self.names, self._values, strict=True))
        with _locked(self.folder, fcntl.LOCK_SH):
            return _sum(sorted(self.folder.glob("*" + _SUFFIX)))

    def expose(self, gauges: dict[str, float]) -> bytes:
        """Prometheus' text format: the counters over all processes, and `gauges` of this one."""
        lines: list[str] = []
        described = ""
        for series, value in _cumulative(self.total()):
            base = series.split("{")[0]
            name = next(known for known in _HELP if base.startswith(known))
            if name != described:
                kind, text = _HELP[name]
                lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
                described = name
            lines.append(f"{series} {value:.17g}")
        for series, value in gauges.items():
            lines += [f"# TYPE {series.split('{')[0]} gauge", f"{series} {value:.17g}"]
        return ("\n".join(lines) + "\n").encode()


def _histogram(name: str, labels: str, buckets: Sequence[float]) -> list[str]:
    bounds = [*(f"{bound:g}" for bound in buckets), "+Inf"]
    total = f"{name}_sum{{{labels.rstrip(',')}}}" if labels else f"{name}_sum"
    return [*(f'{name}_bucket{{{labels}le="{bound}"}}' for bound in bounds), total]


def _cumulative(series: dict[str, float]) -> Iterator[tuple[str, float]]:
    """Buckets as Prometheus wants them: each with all smaller ones, and the count after the last."""
    buckets: list[tuple[str, float]] = []
    running = 0.0
    for name, value in series.items():
        # Series of what never happened would make most of the answer.
        if "_bucket{" not in name:
            if value:
                yield name, value
            continue
        running += value
        buckets.append((name, running))
        if 'le="+Inf"' in name:
            if running:
                yield from buckets
                count = name.replace("_bucket{", "_count{").replace(',le="+Inf"', "").replace('le="+Inf"', "")
                yield count.replace("{}", ""), running
            buckets, running = [], 0.0


def _create(folder: Path, names: Sequence[str]) -> mmap.mmap:
    folder.mkdir(parents=True, exist_ok=True)
    header = json.dumps(names).encode()
    header += b" " * (-len(header) % 8)
    with _locked(folder, fcntl.LOCK_EX):
        _merge_ended(folder)
        path = folder / f"{os.getpid()}{_SUFFIX}"
        path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(8 * len(names)))
        with path.open("r+b") as stream:
            return mmap.mmap(stream.fileno(), 0)


def _values(mapped: mmap.mmap) -> "memoryview[float]":
    (size,) = struct.unpack_from("<Q", mapped)
    return memoryview(mapped)[8 + size :].cast("d")


def _read(path: Path) -> dict[str, float]:
    content = path.read_bytes()
    (size,) = struct.unpack_from("<Q", content)
    names = json.loads(content[8 : 8 + size])
    return dict(zip(names, struct.unpack_from(f"<{len(names)}d", content, 8 + size), strict=True))


def _sum(paths: Sequence[Path]) -> dict[str, float]:
    total: dict[str, float] = {}
    for path in paths:
        for name, value in _read(path).items():
            total[name] = total.get(name, 0.0) + value
    return total


def _merge_ended(folder: Path) -> None:
    own = str(os.getpid())
    ended = [path for path in folder.glob("*" + _SUFFIX) if path.name != _ENDED and not _lives(path.stem, own)]
    if not ended:
        return
    if (folder / _ENDED).is_file():
        ended.append(folder / _ENDED)
    total = _sum(ended)
    header = json.dumps(list(total)).encode()
    header += b" " * (-len(header) % 8)
    partial = folder / "ended.partial"
    partial.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack(f"<{len(total)}d", *total.values()))
    for path in ended:
        if path.name != _ENDED:
            path.unlink()
    partial.replace(folder / _ENDED)


def _lives(pid: str, own: str) -> bool:
    # A file under this process's own number is of an earlier process that had the number before.
    return pid != own and Path("/proc", pid).exists()


@contextmanager
def _locked(folder: Path, kind: int) -> Iterator[None]:
    with (folder / _LOCK).open("a") as stream:
        fcntl.flock(stream, kind)
        yield
