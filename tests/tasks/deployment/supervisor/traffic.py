"""Clients that never stop asking, and count every request that failed or got another version's answer."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.bentos.text_classifier.model_folder import WORDS


@dataclass
class Tally:
    """What the clients saw. A request is right when its label is one of the version that the answer names."""

    answers: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.answers.total() + len(self.failed) + len(self.wrong)


class Connection:
    """A plain HTTP/1.1 client connection; it keeps alive until the server says otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, texts: list[str]) -> tuple[int, bytes]:
        """Status and body. Opens a connection when there is none, or when the server has closed an idle one."""
        if self._streams is not None and self._streams[0].at_eof():
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port)
        reader, writer = self._streams
        body = json.dumps({"texts": texts}).encode()
        head = f"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        writer.write(head.encode() + b"\r\n\r\n" + body)
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        answer = await reader.readexactly(int(headers["content-length"]))
        if headers.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), answer

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None


@asynccontextmanager
async def traffic(
    host: str, port: int, *, kept: int = 0, fresh: int = 0, pause: float = 0.0, text: str = "atom goal"
) -> AsyncIterator[Tally]:
    """Asks all the while with `kept` keep-alive connections and `fresh` clients that connect anew each time.

    Args:
        pause: seconds that a client rests between its requests.
        text: what is asked.
    """
    tally = Tally()
    stop = asyncio.Event()

    async def client(keep: bool) -> None:
        connection = Connection(host, port)
        while not stop.is_set():
            started = time.perf_counter()
            try:
                judge(tally, *await asyncio.wait_for(connection.ask([text]), 120))
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                tally.failed.append(f"{time.strftime('%H:%M:%S')} {type(error).__name__}: {error}")
                connection.close()
            tally.latencies_ms.append((time.perf_counter() - started) * 1e3)
            if not keep:
                connection.close()
            if pause:
                await asyncio.sleep(pause)
        connection.close()

    clients = [asyncio.ensure_future(client(keep)) for keep in [True] * kept + [False] * fresh]
    try:
        yield tally
    finally:
        stop.set()
        await asyncio.gather(*clients)


def judge(tally: Tally, status: int, body: bytes) -> None:
    """Counts one answer."""
    if status != 200:
        tally.failed.append(f"status {status}: {body[:200]!r}")
        return
    answer = json.loads(body)
    tag, label = answer["model"]["bento"], answer["predictions"][0]["label"]
    step = re.split("[v-]", tag)[-1]
    if label in {f"{name}-{step}" for name in WORDS}:
        tally.answers[tag] += 1
    else:
        tally.wrong.append(f"{tag} answered {label}")
