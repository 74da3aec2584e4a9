"""Clients that send without end, say nothing, or do not read; what a service does meanwhile."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from itertools import chain, repeat

import psutil

HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
STREAM = b"POST /predict/stream HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
_MEGABYTE = 1_000_000
_LINES = b"1\n" * 50_000
"""No texts, so that each is answered at once and longer than it is."""

FLOODS: dict[str, tuple[bytes, bytes, int]] = {
    "header lines": (b"GET /livez HTTP/1.1\r\n", b"x-a: b\r\n" * 125_000, 300),
    "one header": (b"GET /livez HTTP/1.1\r\nx: ", b"a" * _MEGABYTE, 100),
    "an address": (b"GET /", b"a" * _MEGABYTE, 100),
    "trailers": (CHUNKED + b"0\r\n", b"x-a: b\r\n" * 125_000, 100),
    "one trailer": (CHUNKED + b"0\r\nx: ", b"a" * _MEGABYTE, 100),
    "a chunk's extension": (CHUNKED + b"5;", b"a" * _MEGABYTE, 100),
    "requests in a pipeline": (b"", b"GET /model HTTP/1.1\r\nhost: x\r\n\r\n" * 30_000, 50),
    "requests of an old version": (b"", b"GET /model\r\n\r\n" * 70_000, 50),
}
"""What is sent first, what again and again, and how often: hundreds of megabytes."""


def flood(port: int, first: bytes, again: bytes, count: int, seconds: float = 5.0) -> bytes:
    """Sends as much as is taken in `seconds`; the beginning of what was said to it."""
    heard: list[bytes] = []
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as client:
        listener = threading.Thread(target=_listen, args=(client, heard))
        listener.start()
        end = time.monotonic() + seconds
        with suppress(OSError):
            for part in chain([first], repeat(again, count)):
                client.sendall(part)
                if time.monotonic() > end:
                    break
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        listener.join()
    return b"".join(heard)[:1000]


def _listen(client: socket.socket, heard: list[bytes]) -> None:
    with suppress(OSError):
        while part := client.recv(65_536):
            if len(heard) < 10:
                heard.append(part)


@contextmanager
def watched(url: str, pid: int) -> Iterator[dict[str, float]]:
    """While the block runs, `/livez` is asked all the time, each time on a new connection. Afterwards: the most
    `megabytes` that the process grew by, the longest answer in `seconds`, the number of `answers` and of `refusals`."""
    process = psutil.Process(pid)
    seen: dict[str, float] = {"megabytes": 0.0, "seconds": 0.0, "answers": 0, "refusals": 0}
    over, ended = threading.Event(), threading.Event()
    before = process.memory_info().rss

    def look() -> None:
        while not ended.is_set():
            # Once more after the block, for what came in its last moment.
            if over.wait(0.02):
                ended.set()
            began = time.monotonic()
            if alive(int(url.rpartition(":")[2])):
                seen["answers"] += 1
            else:
                seen["refusals"] += 1
            seen["seconds"] = max(seen["seconds"], time.monotonic() - began)
            seen["megabytes"] = max(seen["megabytes"], (process.memory_info().rss - before) / 1e6)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


def alive(port: int) -> bool:
    """Whether `/livez` is answered on a new connection."""
    asked = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        asked.request("GET", "/livez")
        return asked.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        asked.close()


@contextmanager
def connected(port: int, count: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many clients that have sent these bytes."""
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)) for _ in range(count)]
        for client in clients:
            with suppress(OSError):
                client.sendall(sent)
        yield clients


def gone(client: socket.socket) -> bytes:
    """What is said until the other side closes, within the socket's timeout."""
    told = b""
    with suppress(ConnectionError):
        while part := client.recv(65_536):
            told += part
    return told


def unread_streams(port: int, count: int) -> list[socket.socket]:
    """Clients that stream texts until nothing more is taken, and read no answer."""
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(STREAM + b"fffffff\r\n")
        client.setblocking(False)
        clients.append(client)
    for _ in range(10):
        for client in clients:
            with suppress(BlockingIOError, ConnectionError):
                while client.send(_LINES):
                    pass
        time.sleep(0.05)
    return clients


def until(true: Callable[[], bool], seconds: float = 20.0) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while not (met := true()) and time.monotonic() < end:
        time.sleep(0.05)
    return met
