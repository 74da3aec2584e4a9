"""The local deployment: `python -m tasks.deployment start | stop | status | reload | run | unit | keys`."""

import argparse
import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

from tasks.base.errors import InputError, PipelineError
from tasks.base.state import check_writable, open_state, state_folder
from tasks.deployment.supervisor import guardian, keys, lifecycle, processes, protection
from tasks.deployment.supervisor.address import Address, address_of
from tasks.deployment.supervisor.listener import open_listener, take_over
from tasks.deployment.supervisor.record import Version
from tasks.deployment.supervisor.supervisor import Supervisor
from tasks.deployment.supervisor.unit import unit


def main() -> int:
    if sys.argv[1:2] == ["keys"]:
        return keys.main(sys.argv[2:])
    options = _parser().parse_args()
    try:
        open_state(options.state)
        return options.run(options)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status


def _place(options: argparse.Namespace, version: Version) -> Address:
    check_writable(options.state, "the state folder")
    served = address_of(version.serve)
    return Address(options.host or served.host, options.port or served.port)


def _start(options: argparse.Namespace) -> int:
    live = lifecycle.required_live(options.state)
    host, port = _place(options, live.version)
    protection.check_address(host, live.version.security)
    running = lifecycle.start_live(options.state, host, port)
    print(f"{running['tag']} answers on {running['url']}")
    return 0


def _stop(options: argparse.Namespace) -> int:
    print("stopped" if lifecycle.stop(options.state) else "nothing was running")
    return 0


def _status(options: argparse.Namespace) -> int:
    running = lifecycle.status(options.state)
    if running is None:
        left = processes.find(options.state)
        print(f"not running ({len(left)} processes left of an earlier life: `make serve` or `make stop`)" if left
              else "not running")  # fmt: skip
        return 1
    workers = f"{len(running['workers'])} of {running['wanted']} workers"
    print(f"{running['tag'] or 'nothing deployed'} on {running['url']}, {workers}, {running['restarts']} restarts")
    return 0


def _reload(options: argparse.Namespace) -> int:
    live = lifecycle.required_live(options.state)
    running = lifecycle.swap(options.state, live.version, "deployed", "reload")
    print(f"{running['tag']} answers on {running['url']} with fresh workers")
    return 0


def _run(options: argparse.Namespace) -> int:
    """Becomes the guardian, in the foreground, for systemd and containers."""
    live = lifecycle.required_live(options.state)
    if processes.find(options.state, "guardian") or processes.find(options.state, "supervisor"):
        raise InputError("the deployment is up already: `make stop` ends it")
    host, port = _place(options, live.version)
    protection.check_address(host, live.version.security)
    listener = take_over(options.state) or open_listener(host, port)
    listener.set_inheritable(True)
    command = guardian.command(options.state, listener, "guardian")
    os.execve(command[0], command, processes.marked(options.state, "guardian"))


def _unit(options: argparse.Namespace) -> int:
    print(unit(options.state, user=not options.system, bentoml_home=os.environ.get("BENTOML_HOME")), end="")
    return 0


def _guardian(options: argparse.Namespace) -> int:
    _log()
    guardian.run(options.state, socket.socket(fileno=options.fd), options.other)
    return 0


def _supervisor(options: argparse.Namespace) -> int:
    _log()
    asyncio.run(_supervise(options))
    return 0


async def _supervise(options: argparse.Namespace) -> None:
    await Supervisor(options.state, socket.socket(fileno=options.fd), options.other).run()


def _log() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tasks.deployment", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (
        ("start", _start, "serve the live version in the background"),
        ("stop", _stop, "end every process of the deployment"),
        ("status", _status, "say what is served; status 1 when nothing is"),
        ("reload", _reload, "replace the workers by fresh ones without a gap"),
        ("run", _run, "serve in the foreground, for systemd"),
        ("unit", _unit, "print a systemd unit that does so from boot on"),
        ("guardian", _guardian, None),
        ("supervisor", _supervisor, None),
    ):
        # What has no text is started by the others, and not listed.
        command = commands.add_parser(name, help=text) if text else commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument("--state", type=Path, default=state_folder(), help="where live.json lies")
        if run in (_start, _run):
            command.add_argument("--host", help="address; that of the live version when not given")
            command.add_argument("--port", type=int, help="TCP port; that of the live version when not given")
        if run is _unit:
            command.add_argument("--system", action="store_true", help="a unit of the machine, not of this user")
        if run in (_guardian, _supervisor):
            command.add_argument("--fd", type=int, required=True)
            command.add_argument("--other", type=int, default=0)
    # Answered by `keys.main`, which has commands of its own.
    commands.add_parser("keys", help="make, revoke and list the keys of callers", add_help=False)
    return parser


if __name__ == "__main__":
    sys.exit(main())
