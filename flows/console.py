"""What a person sees while a flow runs: one line a stage, a bar inside long ones, nothing of any library."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

SILENT_BAR_SECONDS = 15.0
BAR_SECONDS = 0.1


class Console:
    """Lines for a person on standard output; `progress` draws on standard error.

    Without a terminal the bar becomes one line every 15 seconds.
    """

    def __init__(self, out: TextIO | None = None, error: TextIO | None = None) -> None:
        self.out = out or sys.stdout
        self.error = error or sys.stderr
        self._bar: tqdm | None = None
        self._last = time.monotonic()

    def line(self, text: str = "") -> None:
        _print(text, self.out)

    def stage(self, name: str, seconds: float, summary: str, *, kept: bool = False) -> None:
        """One finished stage; `kept` says that an earlier run's result was taken."""
        took = "kept" if kept else f"{seconds:.1f} s"
        self.line(f"  {name:<12} {took:>7}   {summary}")

    def notes(self, notes: Sequence[str], most: int = 3) -> None:
        """What a person should know of the stage before; the report has all of them."""
        for note in notes[:most]:
            self.line(f"              note: {note}")

    def progress(self, name: str, share: float, text: str) -> None:
        """Moves the bar of the running stage to `share` (0 to 1)."""
        now = time.monotonic()
        if not self.error.isatty():
            if now - self._last >= SILENT_BAR_SECONDS:
                _print(f"  {name:<12} {share:>6.0%}   {text}", self.error)
                self._last = now
            return
        if self._bar is None:
            self._bar = tqdm(
                total=100,
                file=self.error,
                leave=False,
                # Not `postfix`, which tqdm begins with a comma.
                bar_format="  {desc:<12}{percentage:3.0f}% |{bar:24}| {unit}",
                desc=name,
                unit=text,
            )
        elif now - self._last < BAR_SECONDS:
            return
        self._last = now
        self._bar.n = 100 * share
        self._bar.desc, self._bar.unit = name, text
        self._bar.refresh()

    def finish_progress(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._last = time.monotonic()


def _print(text: str, stream: TextIO) -> None:
    # Who read may be gone, as a run's worker that was killed: that is no reason to lose the run.
    with contextlib.suppress(BrokenPipeError):
        print(text, file=stream, flush=True)


_CURRENT: ContextVar[Console | None] = ContextVar("console", default=None)


def current() -> Console:
    """The console of the command that runs; this process's own output in a run that a worker started."""
    return _CURRENT.get() or Console()


@contextlib.contextmanager
def shown_on(console: Console) -> Iterator[None]:
    """Makes `console` the current one while the block lasts."""
    token = _CURRENT.set(console)
    try:
        yield
    finally:
        _CURRENT.reset(token)


@contextlib.contextmanager
def quiet(log: Path) -> Iterator[Console]:
    """A console on the real terminal while everything else that is printed goes into `log`.

    The redirection is of the file descriptors, because TensorFlow and ONNX Runtime print from C++.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with (
        log.open("ab", buffering=0) as sink,
        os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace") as out,
        os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace") as error,
    ):
        os.dup2(sink.fileno(), 1)
        os.dup2(sink.fileno(), 2)
        try:
            yield Console(out, error)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(saved[0], 1)
            os.dup2(saved[1], 2)
            os.close(saved[0])
            os.close(saved[1])
