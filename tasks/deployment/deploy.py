"""Deploy: a package that passed its smoke test takes over the traffic, or everything stays as it was."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tasks.base.errors import DeploymentError, InputError
from tasks.base.manifests import Deployment, Package, content_of
from tasks.base.settings import SecuritySettings, ServeSettings
from tasks.deployment.smoke import check_contract, check_known, smoke, trial
from tasks.deployment.supervisor import control, lifecycle, processes, protection
from tasks.deployment.supervisor.address import Address, address_of, placed, standing
from tasks.deployment.supervisor.listener import open_listener
from tasks.deployment.supervisor.record import LIVE, Live, Version, count_from_now, note, read_live
from tasks.deployment.supervisor.rollout import Withdrawn, roll_out
from tasks.release.package import NAME, bento_source, store

SETTLE_SECONDS = 15.0
"""How long connections may still reach the version before, once the new one has taken over."""


def deploy(
    package: Package,
    serve: ServeSettings,
    known: list[tuple[str, str]],
    state: Path,
    why: str = "asked for",
    security: SecuritySettings = SecuritySettings(),  # noqa: B008 (frozen)
) -> Deployment:
    """Smoke test on a spare port, hot swap, the same questions again through the public port.

    Args:
        known: texts with the answers that the model must give, see `smoke.known_answers`.
        state: where `live.json` lies, which names the live version.
        why: kept in the history.
        security: what protects the version, for as long as it is served.

    Raises:
        DeploymentError: something failed; the version that was live still is, and answered all along.
    """
    with _one_at_a_time(state):
        before, stood = read_live(state), standing(state)
        serve = placed(serve, state)
        address = address_of(serve)
        protection.check_address(address.host, security)
        version = Version.of(package, serve, security)
        try:
            checks = smoke(package, serve, known, state, security)
            _listen(state, address)
            stages = _try_out(state, version, before)
            running = lifecycle.swap(state, version, "deployed", why)
        except DeploymentError as error:
            event = "withdrawn" if isinstance(error, Withdrawn) else "refused"
            note(state, event, package.tag, str(error), live=before.version.tag if before else None)
            _leave_as_before(state, stood)
            raise
        try:
            _check_public(running["url"], version, known, state)
        except (DeploymentError, httpx.HTTPError) as error:
            _return_to(state, before, package.tag, str(error))
            _leave_as_before(state, stood)
            raise DeploymentError(f"{package.tag} failed through the public port: {error}") from error
    return Deployment(
        tag=package.tag,
        url=running["url"],
        previous=before.version.tag if before else None,
        moved_from=None if stood is None or stood.same(address) else f"{stood.host}:{stood.port}",
        state="live",
        smoke=checks,
        rollout=stages,
        latency_ms=next(check["median_ms"] for check in checks if "median_ms" in check),
        content=content_of(version.content, serve.model_dump_json(), security.model_dump_json()),
    )


def rollback(to: str | None, state: Path, why: str) -> Deployment:
    """Returns to the version before the live one, or to the version `to`, without a lost request.

    Raises:
        InputError: there is no such version, or its bento is gone.
        DeploymentError: it does not come up; the live version still answers.
    """
    with _one_at_a_time(state):
        live = lifecycle.required_live(state)
        # It comes back where its successor answers now, whatever its own address was.
        host, port = standing(state) or address_of(live.version.serve)
        version = _earlier(live, to)
        version = version.model_copy(update={"serve": version.serve.model_copy(update={"host": host, "port": port})})
        _listen(state, Address(host, port))
        running = lifecycle.swap(state, version, "rolled back", why)
        _check_public(running["url"], version, [], state)
    return Deployment(tag=version.tag, url=running["url"], previous=live.version.tag, state="rolled back")


def _earlier(live: Live, to: str | None) -> Version:
    there = [version.tag for version in live.versions[:-1] if bento_source(version.path).is_dir()]
    offered = ", ".join(there) or "none"
    if to is None:
        version = live.previous
        if version is None:
            raise InputError(f"{live.version.tag} is the only version that was deployed: there is none to return to")
    else:
        tag = to if ":" in to else f"{NAME}:{to}"
        version = live.find(tag) or _stored(tag, live.version)
        if version is None:
            raise InputError(f"there is no version {tag}; versions that were live before: {offered}")
    if not bento_source(version.path).is_dir():
        raise InputError(f"the bento of {version.tag} is gone from {version.path}; versions before: {offered}")
    return version


def _stored(tag: str, live: Version) -> Version | None:
    path = store() / tag.partition(":")[2]
    if not bento_source(path).is_dir():
        return None
    content = content_of(bento_source(path))
    return Version(tag=tag, path=path, content=content, serve=live.serve, security=live.security)


def _listen(state: Path, address: Address) -> None:
    """Brings the deployment up at the address that is asked for, with the version that is live."""
    running = lifecycle.start(state, *address)
    if not address.same(Address(running["host"], running["port"])):
        if address.port != running["port"]:
            open_listener(*address).close()
        lifecycle.stop(state)
        lifecycle.start(state, *address)


def _try_out(state: Path, version: Version, before: Live | None) -> list[dict[str, Any]]:
    """Shadow or canary, as the settings say, where there is a live version to compare with."""
    settings = version.serve.rollout
    if before is None or not before.version.there or settings.mode == "swap":
        return []
    with trial(version, state) as tried:
        return roll_out(state, version.tag, tried.port, lambda: tried.process.poll() is None, settings)


def _leave_as_before(state: Path, stood: Address | None) -> None:
    """After a failure: no deployment where there was none; and one that was moved returns to where it `stood`."""
    if stood is None:
        lifecycle.stop(state)
    elif lifecycle.status(state):
        _listen(state, stood)


def _return_to(state: Path, before: Live | None, tag: str, why: str) -> None:
    earlier = next((version for version in reversed(before.versions) if version.there), None) if before else None
    if earlier is None:
        note(state, "withdrawn", tag, why, live=None)
        lifecycle.stop(state)
        (state / LIVE).unlink()
    else:
        lifecycle.swap(state, earlier, "withdrawn", why)


def _check_public(url: str, version: Version, known: list[tuple[str, str]], state: Path) -> None:
    """Asks through the public port, on new connections, until only `version` answers; its traffic begins then."""
    until = time.monotonic() + SETTLE_SECONDS
    with protection.admitted(version.security, state) as options:
        while True:
            try:
                with httpx.Client(base_url=url, timeout=30, **options) as client:
                    check_contract(client, version.tag)
                    check_known(client, version.tag, known)
                break
            except (DeploymentError, httpx.TransportError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
    count_from_now(state)


@contextmanager
def _one_at_a_time(state: Path) -> Iterator[Any]:
    """Deployments and rollbacks wait for each other; what a killed one left running is ended."""
    place = control.folder(state)
    place.mkdir(parents=True, exist_ok=True)
    with (place / "deploy.lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        processes.end([found.pid for found in processes.find(state, "trial")], grace=1)
        yield
