"""What is kept of requests, and how: counters, records, and what personal data becomes in them."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from bentos.serving.counters import Counters
from bentos.serving.http.asgi import Request
from bentos.serving.http.problems import busy
from bentos.serving.records.personal_data import Redactor
from bentos.serving.records.pseudonyms import records_key
from bentos.serving.records.records import RecordWriter
from bentos.serving.settings import ServiceSettings

_REDACTIONS_WAITING = 16
_SHORT = 1000
"""Characters of a text that is redacted at once: a fraction of a millisecond."""


class Writer(Protocol):
    """Writes records off the request path."""

    @property
    def dropped(self) -> int:
        """Records that were taken and could not be written."""
        ...

    def close(self) -> None:
        """Writes what waits."""
        ...


Kept = TypeVar("Kept", bound=Writer)


class Recorder:
    """For one event loop.

    Args:
        counters_folder: where the counters of several workers meet; in memory when None.
        routes: names that requests are counted under.
        statuses: those that answers may have.
    """

    def __init__(
        self, settings: ServiceSettings, counters_folder: Path | None, routes: Sequence[str], statuses: Sequence[int]
    ) -> None:
        self.settings = settings
        self.counters = Counters(counters_folder, routes, statuses)
        self.folder = Path(settings.records) if settings.records else None
        self.redact = self._redactor()
        self._redactions = 0
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="redact")
        self._writers: list[Writer] = []
        self.access = self.writer("access", keep_all=False) if settings.access_log else None

    def writer(self, kind: str, *, keep_all: bool) -> RecordWriter | None:
        """Writes records of this kind; None where no folder for records is set."""
        if self.folder is None:
            return None
        return self.keep(RecordWriter(self.folder, kind, int(self.settings.max_records_mb * 1e6), keep_all=keep_all))

    def keep(self, writer: Kept) -> Kept:
        """Counts what the writer drops, and closes it in the end."""
        self._writers.append(writer)
        return writer

    @property
    def dropped(self) -> int:
        """Records that were taken and could not be written."""
        return sum(writer.dropped for writer in self._writers)

    def _redactor(self) -> Redactor:
        policy = self.settings.personal_data or "keep"
        return Redactor(policy, records_key(self.folder) if policy != "keep" and self.folder else b"off")

    async def redacted(self, text: str) -> str | None:
        """The text as it may be kept, None when it may not; a long one in a thread of its own, where a few may wait.

        Raises:
            Problem: 429 when too many wait.
        """
        if len(text) <= _SHORT or self.redact.policy == "keep":
            return self.redact(text)
        if self._redactions >= _REDACTIONS_WAITING:
            raise busy(1)
        self._redactions += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._beside, self.redact, text)
        finally:
            self._redactions -= 1

    def client_name(self, request: Request) -> str:
        """Who asks, as it may be kept: a key's name, else the address, or what stands for it under a policy."""
        name = request.client_name()
        if request.caller is not None or self.redact.policy == "keep":
            return name
        return f"client:{self.redact.pseudonym(name)}"

    def close(self) -> None:
        """Writes what waits."""
        self._beside.shutdown(wait=True, cancel_futures=True)
        for writer in self._writers:
            writer.close()
