"""`python -m tasks.deployment keys add | revoke | list`: who may ask the service. Running workers follow at once."""

import argparse
import fcntl
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from bentos.serving.guard.api_keys import SCOPES, ApiKey, ApiScope, dump_keys, new_token, read_keys
from tasks.base.errors import InputError, PipelineError
from tasks.base.files import write_whole
from tasks.base.state import open_state, state_folder
from tasks.deployment.supervisor.record import note, read_live

_LIMITS = ("rate", "max_body_mb", "texts_a_day", "explanations_a_day", "decimals")


def file(state: Path) -> Path:
    """Where the keys of the deployment are kept, hashed."""
    return state / "api_keys.json"


def add(state: Path, name: str, scopes: Sequence[ApiScope], **limits: Any) -> str:
    """The token of a new key, which is kept nowhere; `limits` are those of `ApiKey`.

    Raises:
        InputError: the name is taken.
    """
    key_id, token, digest = new_token()
    with _changing(state) as keys:
        if any(key.name == name for key in keys):
            raise InputError(f"there is a key {name!r} already: revoke it, or choose another name")
        keys.append(ApiKey(id=key_id, name=name, hash=digest, scopes=tuple(scopes), created=time.time(), **limits))
    _note(state, "key added", name, ", ".join(scopes))
    return token


def revoke(state: Path, name: str) -> None:
    """Takes the key called `name` away.

    Raises:
        InputError: there is none.
    """
    with _changing(state) as keys:
        left = [key for key in keys if key.name != name]
        if len(left) == len(keys):
            raise InputError(f"there is no key {name!r}; there are: {', '.join(key.name for key in keys) or 'none'}")
        keys[:] = left
    _note(state, "key revoked", name, "asked for")


def main(arguments: Sequence[str]) -> int:
    """The command."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


def _add(options: argparse.Namespace) -> None:
    limits = {name: getattr(options, name) for name in _LIMITS}
    expires = time.time() + options.days * 86400 if options.days else None
    token = add(options.state, options.name, options.scopes, expires=expires, **limits)
    print(token)
    print("this key is shown once only; clients send it as `Authorization: Bearer KEY`", file=sys.stderr)


def _revoke(options: argparse.Namespace) -> None:
    revoke(options.state, options.name)
    print(f"{options.name} is revoked")


def _list(options: argparse.Namespace) -> None:
    for key in _read(options.state):
        expires = f", until {datetime.fromtimestamp(key.expires, UTC):%Y-%m-%d %H:%M} UTC" if key.expires else ""
        limits = [f"{field} {getattr(key, field):g}" for field in _LIMITS if getattr(key, field) is not None]
        print(f"{key.name}: {', '.join([*key.scopes, *limits])}{expires}")


def _read(state: Path) -> list[ApiKey]:
    try:
        return list(read_keys(file(state)))
    except msgspec.MsgspecError as error:
        raise InputError(
            f"{file(state)} is damaged ({error}): restore it, or remove it and add the keys again"
        ) from error


@contextmanager
def _changing(state: Path) -> Iterator[list[ApiKey]]:
    """The keys, to be changed in place; written when the block ends well. One at a time."""
    open_state(state)
    with (state / "api_keys.lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        keys = _read(state)
        yield keys
        write_whole(file(state), dump_keys(keys))


def _note(state: Path, event: Any, name: str, why: str) -> None:
    live = read_live(state)
    note(state, event, name, why, live=live.version.tag if live else None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tasks.deployment keys", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    adding = commands.add_parser("add", help="make a key and show it once")
    adding.set_defaults(run=_add)
    adding.add_argument("name", help="who gets it; named in records")
    adding.add_argument("--scopes", nargs="+", choices=SCOPES, default=["predict"], help="what it is for")
    adding.add_argument("--days", type=float, help="how long it is good; for ever when not given")
    adding.add_argument("--rate", type=float, help="requests a second")
    adding.add_argument("--max-body-mb", type=float, help="size of a request")
    adding.add_argument("--texts-a-day", type=int, help="texts in 24 hours")
    adding.add_argument("--explanations-a-day", type=int, help="explanations in 24 hours")
    adding.add_argument("--decimals", type=int, help="round scores and the weights of explanations")
    revoking = commands.add_parser("revoke", help="take a key away, at once")
    revoking.set_defaults(run=_revoke)
    revoking.add_argument("name")
    listing = commands.add_parser("list", help="name the keys")
    listing.set_defaults(run=_list)
    for command in (adding, revoking, listing):
        command.add_argument("--state", type=Path, default=state_folder(), help="where live.json lies")
    return parser
