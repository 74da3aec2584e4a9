"""What a worker answers under load with each control on, beside one with nothing on, in one run.

All workers stand ready and are loaded in turn, the order reversed every round, so that other work on the machine
meets all of them; ratios are medians of pairs. The server has the first CPU, the generator the last.

wrk posts one text over 16 kept connections. It knows no client certificates and cannot encrypt: certificates of both
sides are measured by a small client of this process, as are TLS and plain HTTP once more beside it, over kept
connections and over a new one for each request; encrypted requests are made before the clock starts and posted by wrk
once each, so that the figures are the service's own.
"""

import asyncio
import json
import os
import ssl
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import psutil

from benchmarks import wrk
from bentos.serving.guard.api_keys import ApiKey, dump_keys, new_token
from bentos.serving.guard.client import PrivateClient
from bentos.serving.guard.network import (
    API_KEYS_VARIABLE,
    CERTIFICATE_KEY_VARIABLE,
    CERTIFICATE_VARIABLE,
    CLIENT_CA_VARIABLE,
    ENVELOPES_VARIABLE,
)
from bentos.serving.model_folder import KEY_VARIABLE
from bentos.text_classifier.settings import Settings
from tests.bentos.text_classifier.servers import Process, worker
from tests.tasks.keys import certificate

NOTHING = "nothing"
CONNECTIONS = 16
BODY = json.dumps({"texts": ["a goal in the last minute of the match, said ann@mail.example"]})


@dataclass(frozen=True)
class Control:
    """A worker with something on: what it is told, and what a caller of it sends beside the body."""

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    headers: dict[str, str] = field(default_factory=dict)
    model: Path | None = None


class Sample(NamedTuple):
    """Of one load: requests a second, the worker's milliseconds of CPU a request, latencies."""

    rate: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float


Measure = Callable[[Process, Control, int], Sample]


def throughput(plain: Path, sealed: tuple[Path, str], folder: Path, seconds: int, rounds: int) -> list[dict[str, Any]]:
    """A row for every control: medians over the rounds, and `of_nothing`, the median of the paired ratios.

    Args:
        plain: a model folder.
        sealed: the same one sealed, and the source of its key.
    """
    wrk.needed("wrk")
    folder.mkdir()
    tls = _tls_variables(folder)
    both = tls | {CLIENT_CA_VARIABLE: tls[CERTIFICATE_VARIABLE]}
    by_wrk = [Control(NOTHING), *_controls(folder, sealed), Control("TLS", tls)]
    by_client = [Control(NOTHING), Control("TLS", tls), Control("TLS with client certificates", both)]
    rows = []
    for generator, controls, measure in (
        ("wrk", by_wrk, _wrk(folder)),
        ("client", by_client, _client(tls, kept=True)),
        ("client, new connections", by_client, _client(tls, kept=False)),
    ):
        with _ready(controls, plain, folder) as processes:
            samples = _rounds(controls, processes, measure, seconds, rounds)
        rows += [
            {"control": control.name, "generator": generator, "start_s": process.told["seconds"]}
            | _summary(samples[control.name], samples[NOTHING])
            for control, process in zip(controls, processes, strict=True)
        ]
    return rows


def _controls(folder: Path, sealed: tuple[Path, str]) -> Iterator[Control]:
    # Of a long burst the service records little; here every prediction, or the cost would hide.
    every = Settings(records=str(folder / "records"), prediction_burst=10**9)
    texts = msgspec.structs.replace(every, store_texts=True)
    yield _with_key("API keys", folder)
    yield _with_key("API keys with a rate", folder, rate=1e9)
    yield _with_key("API keys with a day's texts", folder, texts_a_day=10**12)
    yield _with_key("API keys with scores rounded", folder, decimals=2)
    yield Control("encrypted requests", {ENVELOPES_VARIABLE: str(folder / "envelopes")})
    yield Control("sealed model", {KEY_VARIABLE: sealed[1]}, model=sealed[0])
    yield Control("every prediction recorded", settings=every)
    yield Control("the same with texts", settings=texts)
    yield Control("the same, masked", settings=msgspec.structs.replace(texts, personal_data="mask"))


def _with_key(name: str, folder: Path, **limits: Any) -> Control:
    key, token, digest = new_token()
    file = folder / f"{key}.json"
    file.write_text(dump_keys([ApiKey(id=key, name=name, hash=digest, scopes=("predict",), created=0.0, **limits)]))
    return Control(name, {API_KEYS_VARIABLE: str(file)}, headers={"Authorization": f"Bearer {token}"})


def _tls_variables(folder: Path) -> dict[str, str]:
    cert, key = certificate(folder / "tls")
    return {CERTIFICATE_VARIABLE: str(cert), CERTIFICATE_KEY_VARIABLE: str(key)}


@contextmanager
def _ready(controls: list[Control], plain: Path, folder: Path) -> Iterator[list[Process]]:
    """A worker for each control, on the first CPU; this process and what it starts move to the last."""
    allowed = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack:
        os.sched_setaffinity(0, allowed[:1])
        processes = []
        try:
            for number, control in enumerate(controls):
                file = folder / f"service-{number}.json"
                file.write_bytes(msgspec.json.encode(control.settings))
                started = worker(
                    control.model or plain, folder, "--settings", str(file), environment=control.environment
                )
                processes.append(stack.enter_context(started))
            os.sched_setaffinity(0, allowed[-1:])
            yield processes
        finally:
            os.sched_setaffinity(0, allowed)


def _rounds(
    controls: list[Control], processes: list[Process], measure: Measure, seconds: int, rounds: int
) -> dict[str, list[Sample]]:
    samples: dict[str, list[Sample]] = {control.name: [] for control in controls}
    pairs = list(zip(controls, processes, strict=True))
    for control, process in pairs:
        measure(process, control, 1)  # first times are over
    for number in range(rounds):
        for control, process in pairs if number % 2 else reversed(pairs):
            samples[control.name].append(measure(process, control, seconds))
    return samples


def _summary(samples: list[Sample], nothing: list[Sample]) -> dict[str, float]:
    ratios = [one.rate / other.rate for one, other in zip(samples, nothing, strict=True)]
    rate, cpu_ms, p50_ms, p99_ms = map(statistics.median, zip(*samples, strict=True))
    return {
        "requests_per_second": rate, "of_nothing": statistics.median(ratios),
        "cpu_ms": cpu_ms, "p50_ms": p50_ms, "p99_ms": p99_ms,
    }  # fmt: skip


def _cpu_seconds(process: Process) -> float:
    return sum(psutil.Process(process.process.pid).cpu_times()[:2])


def _wrk(folder: Path) -> Measure:
    script, bodies = folder / "post.lua", folder / "bodies"

    def measure(process: Process, control: Control, seconds: int) -> Sample:
        if ENVELOPES_VARIABLE in control.environment:
            _encrypt(process.url, bodies, seconds)
            script.write_text(wrk.post_each(bodies, {"X-Encryption": "hpke"}))
        else:
            script.write_text(wrk.post(BODY, control.headers))
        before = _cpu_seconds(process)
        load = wrk.run(f"{process.url}/predict", script, CONNECTIONS, seconds)
        cpu = _cpu_seconds(process) - before
        if load.refused:
            raise SystemExit(f"{control.name}: {load.refused} of {load.requests} requests were refused")
        return Sample(load.rate, 1e3 * cpu / load.requests, load.p50_ms, load.p99_ms)

    return measure


def _encrypt(url: str, bodies: Path, seconds: int) -> None:
    """More encrypted requests than the worker can answer in the time: none is taken twice.

    To open one costs as much as to make it, and the worker does more than that.
    """
    with PrivateClient(url, trust_env=False) as client, bodies.open("wb") as file:
        end = time.perf_counter() + 1.5 * seconds
        while time.perf_counter() < end:
            file.write(client.seal("/predict", BODY.encode())[0] + b"\n")


def _client(tls: dict[str, str], *, kept: bool) -> Measure:
    context = ssl.create_default_context(cafile=tls[CERTIFICATE_VARIABLE])
    context.load_cert_chain(tls[CERTIFICATE_VARIABLE], tls[CERTIFICATE_KEY_VARIABLE])

    def measure(process: Process, control: Control, seconds: int) -> Sample:
        url = httpx.URL(process.url)
        request = (
            f"POST /predict HTTP/1.1\r\nhost: {url.host}\r\ncontent-type: application/json\r\n"
            f"connection: {'keep-alive' if kept else 'close'}\r\ncontent-length: {len(BODY)}\r\n\r\n{BODY}"
        ).encode()
        before = _cpu_seconds(process)
        started = time.perf_counter()
        took = asyncio.run(_ask(url, context if control.environment else None, request, seconds, kept=kept))
        elapsed = time.perf_counter() - started
        cpu = _cpu_seconds(process) - before
        ordered = sorted(took)
        p99 = ordered[int(0.99 * (len(ordered) - 1))]
        return Sample(len(took) / elapsed, 1e3 * cpu / len(took), 1e3 * statistics.median(took), 1e3 * p99)

    return measure


async def _ask(
    url: httpx.URL, context: ssl.SSLContext | None, request: bytes, seconds: int, *, kept: bool
) -> list[float]:
    """Seconds of every request that was answered, the making of its connection included where none is kept."""
    end = time.perf_counter() + seconds
    took: list[float] = []

    async def one_after_the_other() -> None:
        reader = writer = None
        while (started := time.perf_counter()) < end:
            if writer is None or reader is None:
                reader, writer = await asyncio.open_connection(url.host, url.port, ssl=context)
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(head.decode("latin-1"))
            length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            await reader.readexactly(int(length))
            took.append(time.perf_counter() - started)
            if not kept:
                writer.close()
                writer = None
        if writer is not None:
            writer.close()

    await asyncio.gather(*(one_after_the_other() for _ in range(CONNECTIONS)))
    return took


COLUMNS = {
    "control": "on", "generator": "asked by", "requests_per_second": "requests/s", "of_nothing": "of nothing on",
    "cpu_ms": "CPU ms a request", "p50_ms": "p50 ms", "p99_ms": "p99 ms", "start_s": "ready after s",
}  # fmt: skip
