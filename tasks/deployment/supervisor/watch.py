"""The first minutes of a version: the one before stands by, answers what the new one fails, and may come back."""

import asyncio
import logging
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from bentos.serving.observations import Rule, read_observed
from tasks.base.files import write_whole
from tasks.deployment.supervisor import control, judgement
from tasks.deployment.supervisor.record import Version
from tasks.deployment.supervisor.worker_process import Worker

logger = logging.getLogger(__name__)

RULE = "relay.json"
_PREFIX = "watch-"
_MOST_EXITS = 3


def rule_file(state: Path) -> Path:
    """The file from which all workers of a deployment read their relay rule."""
    return control.folder(state) / RULE


def set_rule(state: Path, rule: Rule | None) -> None:
    """Makes the workers follow `rule`, or none."""
    if rule is None:
        rule_file(state).unlink(missing_ok=True)
    else:
        write_whole(rule_file(state), msgspec.json.encode(rule).decode())


def read_rule(state: Path) -> Rule | None:
    """The rule that the workers follow."""
    try:
        return msgspec.json.decode(rule_file(state).read_bytes(), type=Rule)
    except FileNotFoundError:
        return None


def forget(state: Path) -> None:
    """Removes the rule and observations that an earlier life left."""
    set_rule(state, None)
    for pattern in (f"{_PREFIX}*", "rollout-*"):
        for folder in control.folder(state).glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


class Standby:
    """A worker of the version before, which answers what the live one fails.

    It listens on a loopback port that only this deployment's workers are told. They may turn to it
    from the start: until it is ready, what they ask waits in the port's queue.
    """

    def __init__(self, version: Version, state: Path, ignored: set[int]) -> None:
        self.state = state
        self.observations = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=control.folder(state)))
        self.ignored = ignored
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
            self.worker = Worker.start(version, state, listener.fileno(), role="standby")

        self.rule = Rule(port=self.port, share=1.0, answers="rescue", observations=str(self.observations))
        set_rule(state, self.rule)

    async def leave(self) -> None:
        """Ends the process and its rule, if that is still the one that the workers follow."""
        if read_rule(self.state) == self.rule:
            set_rule(self.state, None)
        await self.worker.leave(5.0)
        shutil.rmtree(self.observations, ignore_errors=True)

    async def watch(self, minutes: float, exits: Callable[[], int]) -> str | None:
        """Why the live version is to be withdrawn; None when it got through the minutes.

        Args:
            exits: how many of its workers have ended unasked.
        """
        until = asyncio.get_running_loop().time() + minutes * 60
        while asyncio.get_running_loop().time() < until:
            await asyncio.sleep(judgement.WATCH_LOOKS_SECONDS)
            seen = read_observed(self.observations, self.ignored)
            if judgement.failing(seen.requests, seen.failed):
                return f"it failed {seen.failed} of its first {seen.requests} requests"
            if exits() >= _MOST_EXITS:
                return f"its workers ended {exits()} times"
        return None
