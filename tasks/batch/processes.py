"""Processes that predict chunks: `python -m tasks.batch`, fed over pipes.

They are programs of their own and no forks: the caller may hold threads (Prefect, Arrow), and its main
module need not be imported again. A worker whose caller has died reads the end of its input and leaves.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue

import pyarrow as pa
from pydantic import BaseModel

from tasks.base.errors import PipelineError
from tasks.base.settings import BatchSettings
from tasks.base.state import ROOT
from tasks.batch.answers import Answerer

Submit = Callable[[pa.Table, Path], "Future[None]"]


class Start(BaseModel):
    """The first line that a worker reads."""

    model: Path
    settings: BatchSettings
    key: str | None


class Work(BaseModel):
    """The line before each chunk, which follows as `size` bytes of an Arrow stream."""

    part: Path
    size: int


@contextmanager
def answering(model: Path, settings: BatchSettings, workers: int, key: str | None = None) -> Iterator[Submit]:
    """A function that has a chunk predicted into a part file, by `workers` processes; by this one for 1.

    Raises:
        InputError: the model folder cannot be opened.
    """
    if workers == 1:
        answerer = Answerer(model, settings, settings.threads, key)
        yield lambda chunk, part: _done(answerer, chunk, part)
        return
    with ExitStack() as stack:
        idle: SimpleQueue[_Process] = SimpleQueue()
        for _ in range(workers):
            idle.put(stack.enter_context(_Process(model, settings, key)))
        pool = ThreadPoolExecutor(workers, thread_name_prefix="batch")
        stack.callback(pool.shutdown, cancel_futures=True)

        def predict(chunk: pa.Table, part: Path) -> None:
            process = idle.get()
            try:
                process.predict(chunk, part)
            finally:
                idle.put(process)

        yield lambda chunk, part: pool.submit(predict, chunk, part)


def _done(answerer: Answerer, chunk: pa.Table, part: Path) -> "Future[None]":
    answerer.write(chunk, part)
    future: Future[None] = Future()
    future.set_result(None)
    return future


class _Process:
    """One worker process; used by one thread at a time."""

    def __init__(self, model: Path, settings: BatchSettings, key: str | None) -> None:
        command = [sys.executable, "-m", "tasks.batch"]
        # As many threads in libraries as the session has, or the processes fight for the CPUs.
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(settings.threads)}
        environment["TOKENIZERS_PARALLELISM"] = "false"
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self._send(Start(model=model, settings=settings, key=key).model_dump_json().encode() + b"\n")

    def __enter__(self) -> "_Process":
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is not None:
            self._process.kill()
        try:
            self._process.communicate()
        except BrokenPipeError:
            self._process.wait()

    def predict(self, chunk: pa.Table, part: Path) -> None:
        """Returns once the part is written; raises PipelineError with the worker's reason."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, chunk.schema) as stream:
            stream.write_table(chunk)
        body = sink.getvalue()
        self._send(Work(part=part, size=body.size).model_dump_json().encode() + b"\n", body)
        answer = self._process.stdout.readline().decode().strip() if self._process.stdout else ""
        if answer != "done":
            raise PipelineError(answer or _died(self._process))

    def _send(self, *parts: bytes | pa.Buffer) -> None:
        assert self._process.stdin
        try:
            for part in parts:
                self._process.stdin.write(part)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PipelineError(_died(self._process)) from None


def _died(process: "subprocess.Popen[bytes]") -> str:
    status = process.wait()
    reason = f"signal {-status}; the memory may be too small" if status < 0 else f"status {status}"
    return f"a prediction process ended ({reason}). Start the command again: finished chunks are kept."
