"""Checks of this machine: versions, ONNX Runtime, GPU, ports, disk, memory, telemetry. `python -m flows.doctor`."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from importlib import metadata

import numpy as np
import psutil

from bentos.serving.cpus import allowed_cpus
from bentos.telemetry import SILENT, SWITCHES, left_on
from flows.environment import kept_server
from flows.system import server_port
from tasks.base.errors import InputError, PipelineError
from tasks.base.machine import has_gpu
from tasks.base.settings import ServeSettings
from tasks.base.state import ROOT, check_writable, free_bytes, state_folder
from tasks.deployment.supervisor import lifecycle
from tasks.deployment.supervisor.address import address_of
from tasks.deployment.supervisor.record import read_live
from tasks.release.package import store

Finding = tuple[bool, str]
PACKAGES = ("prefect", "tensorflow", "keras", "tf2onnx", "onnxruntime-gpu", "bentoml", "great-expectations")
CUDA = "CUDAExecutionProvider"
FREE_DISK_GB = 5
FREE_MEMORY_GB = 4


def versions() -> Iterator[Finding]:
    """Installed versions against the lock file."""
    locked = dict(
        line.split(" ")[0].split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    )
    for name in PACKAGES:
        found = metadata.version(name)
        yield found == locked[name], f"{name} {found}" + ("" if found == locked[name] else f", locked: {locked[name]}")
    strangers = [name for name, version in locked.items() if not _installed(name, version)]
    hint = f"differ from requirements.lock: {', '.join(strangers[:5])}; run `make setup` after `rm .venv/.ready`"
    yield not strangers, hint if strangers else f"all {len(locked)} packages are as locked"


def _installed(name: str, version: str) -> bool:
    try:
        return metadata.version(name) == version
    except metadata.PackageNotFoundError:
        return False


def one_onnxruntime() -> Iterator[Finding]:
    """onnxruntime and onnxruntime-gpu overwrite each other's files when both are installed (GLiNER#267)."""
    found = [name for name in ("onnxruntime", "onnxruntime-gpu") if _any_version(name)]
    if len(found) == 2:
        yield (
            False,
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other: "
            "`pip uninstall` both, then `make setup`",
        )
        return
    import onnxruntime

    yield True, f"one ONNX Runtime: {found[0]} {onnxruntime.__version__}"


def _any_version(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def gpu() -> Iterator[Finding]:
    """A GPU that the system shows must really be usable by ONNX Runtime and TensorFlow."""
    if not has_gpu():
        yield True, "no NVIDIA GPU: training and serving use the CPU"
        return
    import tensorflow as tf

    seen = tf.config.list_physical_devices("GPU")
    yield bool(seen), f"TensorFlow sees {len(seen)} GPU(s)" + ("" if seen else ": its CUDA libraries are missing")
    computing = provider()
    why = "" if computing == CUDA else f", though {CUDA} was asked for: its libraries are missing or too new"
    yield computing == CUDA, f"ONNX Runtime computes by {computing}{why}"


def provider() -> str:
    """The execution provider that a session gets which asks for CUDA.

    A list of the available ones does not tell: where CUDA's libraries are missing it is on that list all the
    same, and a session falls back to the CPU with a warning (onnxruntime#23372).
    """
    import onnxruntime
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [8, 8]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "square", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=[CUDA, "CPUExecutionProvider"])
    session.run(None, {"x": np.eye(8, dtype=np.float32)})
    return session.get_providers()[0]


def cpu_and_memory() -> Iterator[Finding]:
    free = psutil.virtual_memory().available / 1e9
    yield (
        free >= FREE_MEMORY_GB,
        f"{allowed_cpus()} CPUs may be used; {free:.1f} GB of memory free (wanted: {FREE_MEMORY_GB})",
    )


def disk() -> Iterator[Finding]:
    for name, folder in {"state": state_folder(), "BENTOML_HOME": store()}.items():
        try:
            check_writable(folder, name)
        except InputError as error:
            yield False, str(error)
            continue
        free = free_bytes(folder) / 1e9
        yield free >= FREE_DISK_GB, f"{name}: {free:.0f} GB of disk free for {folder} (wanted: {FREE_DISK_GB})"


def ports() -> Iterator[Finding]:
    """The ports that server and service have, or would take, are free or taken by our own processes."""
    url = kept_server()
    yield _port("127.0.0.1", server_port(), "Prefect server", ours=url is not None)
    try:
        live, running = read_live(state_folder()), lifecycle.status(state_folder())
    except PipelineError as error:
        yield False, str(error)
        return
    served = address_of(live.version.serve if live else ServeSettings())
    host, port = (running["host"], running["port"]) if running else served
    yield _port(host, port, "service", ours=running is not None)


def _port(host: str, port: int, name: str, *, ours: bool) -> Finding:
    with socket.socket() as probe:
        probe.settimeout(1)
        taken = probe.connect_ex((host, port)) == 0
    if taken and not ours:
        return False, f"port {port} ({name}) is taken by another program"
    return True, f"port {port} ({name}) " + ("is in use by this project" if taken else "is free")


def telemetry() -> Iterator[Finding]:
    """What each library would send to its makers is off."""
    for library, switches in SWITCHES.items():
        on = ", ".join(f"{name}={os.environ.get(name)}" for name in left_on(library))
        off = ", ".join(f"{name}={value}" for name, value in switches.items())
        yield (
            not on,
            f"{library} may send telemetry by {on}: set {off}" if on else f"{library} sends no telemetry: {off}",
        )
    yield True, f"no telemetry to switch off: {', '.join(SILENT)}"


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    versions,
    one_onnxruntime,
    gpu,
    cpu_and_memory,
    disk,
    ports,
    telemetry,
)


def main() -> int:
    healthy = True
    for check in CHECKS:
        for good, text in check():
            healthy &= good
            print(f"{'ok ' if good else 'BAD'}  {text}")
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
