"""The listening socket: opened once, inherited by every process of the deployment, taken over after a crash."""

import ctypes
import errno
import os
import socket
import time
from pathlib import Path

import psutil

from tasks.base.errors import DeploymentError
from tasks.deployment.supervisor.processes import find

_PIDFD_GETFD = 438
_BACKLOG = 2048
_DYING_SECONDS = 2.0
"""A process that was killed is gone from the list of processes a moment before the kernel has closed its sockets."""


def open_listener(host: str, port: int) -> socket.socket:
    """A listening TCP socket.

    Raises:
        DeploymentError: the port is taken (the message says by whom), or the address is none of this machine's.
    """
    patient_until = time.monotonic() + _DYING_SECONDS
    while True:
        try:
            return _listener(host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise DeploymentError(f"cannot listen on {host}:{port}: {error.strerror}") from error
            holder = _holder(port)
            if holder or time.monotonic() > patient_until:
                taken_by = holder or "a process of another user"
                raise DeploymentError(
                    f"port {port} on {host} is taken by {taken_by}: stop that, or choose another port"
                ) from error
        time.sleep(_DYING_SECONDS / 40)


def _listener(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def take_over(state: Path) -> socket.socket | None:
    """The listening socket of this deployment's processes that outlived their guardian and supervisor.

    None when there is none, or when the kernel does not let one process copy another's descriptor.
    """
    for worker in find(state, "worker"):
        for descriptor in _listening(worker.pid):
            copied = _copy(worker.pid, descriptor)
            if copied is not None:
                return copied
    return None


def address(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return host, port


def url_of(host: str, port: int, *, tls: bool = False) -> str:
    """Where a client on this machine reaches a listener on `host`."""
    reached = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if tls else 'http'}://{reached}:{port}"


def spare_port() -> int:
    """A port of the loopback address that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _listening(pid: int) -> list[int]:
    try:
        connections = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return []
    return [entry.fd for entry in connections if entry.status == psutil.CONN_LISTEN]


def _copy(pid: int, descriptor: int) -> socket.socket | None:
    system = ctypes.CDLL(None, use_errno=True)
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        copied = system.syscall(_PIDFD_GETFD, process, descriptor, 0)
    finally:
        os.close(process)
    return socket.socket(fileno=copied) if copied >= 0 else None


def _holder(port: int) -> str | None:
    """The process that listens there, as a person knows it; None when it cannot be seen."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        connections = []
    for entry in connections:
        if entry.status == psutil.CONN_LISTEN and entry.laddr and entry.laddr.port == port and entry.pid:
            try:
                command = " ".join(psutil.Process(entry.pid).cmdline())
            except psutil.Error:
                break
            return f"process {entry.pid} ({command[:100]})"
    return None
