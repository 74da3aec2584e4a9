"""Starting, stopping and asking the local deployment, from a shell or from a flow."""

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from bentos.serving.observations import Rule
from tasks.base.errors import DeploymentError, InputError
from tasks.deployment.supervisor import control, guardian, processes
from tasks.deployment.supervisor.listener import open_listener, take_over
from tasks.deployment.supervisor.protection import envelope_keys
from tasks.deployment.supervisor.record import Event, Live, Version, read_live
from tasks.deployment.supervisor.supervisor import DRAIN_SECONDS, READY_SECONDS

_LAUNCH_SECONDS = 30.0
_LOOK_SECONDS = 0.05


def start(state: Path, host: str, port: int) -> dict[str, Any]:
    """Brings the deployment up in the background, if it is not up; returns its status.

    What an earlier life left is adopted: its socket where the kernel allows, its supervisor, its workers.

    Raises:
        DeploymentError: the port is taken, or the supervisor does not come up.
    """
    spawned = False
    with _one_at_a_time(state):
        until = time.monotonic() + _LAUNCH_SECONDS
        while time.monotonic() < until:
            if running := status(state):
                return running
            # A living guardian is about to start a supervisor, and a living supervisor about to answer; but one that
            # was killed is still to be seen for a moment.
            if not (processes.find(state, "guardian") or processes.find(state, "supervisor")):
                if spawned:
                    break
                with _listener(state, host, port) as listener:
                    guardian.spawn(state, listener)
                spawned = True
            time.sleep(_LOOK_SECONDS)
    raise _does_not_start(state)


def start_live(state: Path, host: str, port: int) -> dict[str, Any]:
    """Serves the live version in the background; returns once all of its workers answer.

    Raises:
        InputError: nothing was ever deployed, or the live version's bento is gone.
        DeploymentError: the port is taken, or the version does not come up.
    """
    live = required_live(state)
    if not live.version.there:
        raise InputError(
            f"the bento of the live version, {live.version.tag}, is gone from {live.version.path}: "
            "return to an earlier one (python -m flows.rollback) or retrain (make retrain)"
        )
    start(state, host, port)
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        running = status(state)
        if running and running["wanted"] and len(running["workers"]) == running["wanted"]:
            return running
        time.sleep(_LOOK_SECONDS)
    raise DeploymentError(
        f"{live.version.tag} does not come up: see {control.folder(state) / 'logs'}, or `make status`"
    )


def required_live(state: Path) -> Live:
    live = read_live(state)
    if live is None:
        raise InputError("nothing was deployed yet: `make retrain` trains a model and deploys it")
    return live


def swap(state: Path, version: Version, event: Event, why: str) -> dict[str, Any]:
    """Makes the supervisor serve `version`; returns its status.

    Raises:
        DeploymentError: the version did not come up (the old one answers as before), or no supervisor listens.
    """
    arguments = {"version": version.model_dump(mode="json"), "event": event, "why": why}
    try:
        try:
            return control.ask(state, "swap", READY_SECONDS + DRAIN_SECONDS + 10, **arguments)
        except control.SupervisorEnded:
            # The one that takes its place goes on with what was live; a swap that is done is not done again.
            running = _answering(state)
            return running if running["tag"] == version.tag else control.ask(state, "swap", READY_SECONDS, **arguments)
    except ConnectionError as error:
        raise DeploymentError("no supervisor listens: `make serve` starts one") from error


def relay(state: Path, rule: Rule | None) -> None:
    """Makes the workers put a share of their requests to another version, or none; ends a watch over the live one.

    Raises:
        DeploymentError: no supervisor listens.
    """
    try:
        control.ask(state, "relay", 15, rule=msgspec.to_builtins(rule))
    except ConnectionError as error:
        raise DeploymentError("no supervisor listens: `make serve` starts one") from error


def status(state: Path) -> dict[str, Any] | None:
    """What the supervisor says of itself and its workers; None when none listens, or it dies over the answer."""
    try:
        return control.ask(state, "status", 10)
    except (ConnectionError, control.SupervisorEnded):
        return None


def stop(state: Path) -> int:
    """Ends every process of the deployment, whatever state it is in; returns how many there were."""
    count = len(processes.find(state))
    for role in ("guardian", "supervisor", None):
        processes.end([found.pid for found in processes.find(state, role)], DRAIN_SECONDS + 5)
    # Nobody is left who would remove them when their hour is over.
    shutil.rmtree(envelope_keys(state), ignore_errors=True)
    return count


def _answering(state: Path) -> dict[str, Any]:
    until = time.monotonic() + _LAUNCH_SECONDS
    while time.monotonic() < until:
        if running := status(state):
            return running
        time.sleep(_LOOK_SECONDS)
    raise _does_not_start(state)


def _does_not_start(state: Path) -> DeploymentError:
    return DeploymentError(f"the supervisor does not start: see {control.folder(state) / 'logs' / 'serving.log'}")


@contextmanager
def _listener(state: Path, host: str, port: int) -> Iterator[socket.socket]:
    """The socket of an earlier life, else a new one; what could not hand its socket over is ended first."""
    listener = take_over(state)
    if listener is None:
        processes.end([found.pid for found in processes.find(state)], DRAIN_SECONDS)
        listener = open_listener(host, port)
    with listener:
        yield listener


@contextmanager
def _one_at_a_time(state: Path) -> Iterator[None]:
    place = control.folder(state)
    place.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(place / "start.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
