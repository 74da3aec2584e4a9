"""What a serving process does to itself before it loads anything heavy."""

import gc
import logging
import os
import resource
import secrets
from pathlib import Path

logger = logging.getLogger(__name__)

ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=64"}
"""For the environment of a serving process that is about to be started. glibc keeps 7 freed pieces of each size at
hand for a thread; encoding a batch of texts takes and frees some hundred, and is a tenth faster with 64 (at most
2 MB a thread)."""

_LIBRARY_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


def keep_private() -> int:
    """Gives files the mode 0600 and folders 0700 from the moment they exist, those of child processes too.

    Returns:
        The umask before.
    """
    return os.umask(0o077)


def first_written(file: Path, content: bytes) -> bytes:
    """What `file` holds; of several processes that write it at the same time, what the first one wrote."""
    if not file.exists():
        own = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
        descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        try:
            # A link, unlike a rename, leaves the file of a process that was faster.
            file.hardlink_to(own)
        except FileExistsError:
            logger.debug("another process was faster: %s", file)
        finally:
            own.unlink()
    return file.read_bytes()


def limit_libraries(threads: int) -> None:
    """Keeps BLAS, OpenMP and the tokenizers to `threads`; works only before they are imported."""
    for variable in _LIBRARY_THREADS:
        os.environ.setdefault(variable, str(threads))
    if threads == 1:
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def raise_descriptor_limit() -> int:
    """Raises the soft limit of open files to the hard one, warns when that is low, and returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if 0 < hard < 4096:
        logger.warning("only %d files may be open: about %d connections at one time", hard, hard - 64)
    return hard


def settle_memory() -> None:
    """Takes what is loaded by now out of the garbage collector's sight, and lets it look at the rest less often.

    What is loaded lives as long as the process. A full collection would look through all of it while
    requests wait: tens of milliseconds with BentoML loaded. Requests leave next to no cycles behind, and
    looking for them after every 700 objects takes a twentieth of a small model's requests.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def counters_folder() -> str | None:
    """Where workers of one service let their counters meet: MODEL_SERVICE_COUNTERS, or BentoML's folder for it."""
    return os.environ.get("MODEL_SERVICE_COUNTERS") or os.environ.get("PROMETHEUS_MULTIPROC_DIR")
