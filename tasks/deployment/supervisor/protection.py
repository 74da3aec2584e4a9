"""What a serving process is told of the security settings, what stands before its start, and who may ask it."""

import secrets
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bentos.serving.guard.network import (
    API_KEYS_VARIABLE,
    CERTIFICATE_KEY_VARIABLE,
    CERTIFICATE_VARIABLE,
    CLIENT_CA_VARIABLE,
    ENVELOPES_VARIABLE,
    is_loopback,
)
from bentos.serving.model_folder import KEY_VARIABLE
from tasks.base.errors import InputError
from tasks.base.settings import SecuritySettings
from tasks.deployment.supervisor import control, keys
from tasks.deployment.supervisor.processes import Role
from tasks.deployment.supervisor.record import Version

_PROBE_SECONDS = 3600.0


def environment(security: SecuritySettings, state: Path, role: Role) -> dict[str, str]:
    """Variables for a worker; empty where everything is off."""
    told: dict[str, str] = {}
    if security.encrypt is not None:
        told[KEY_VARIABLE] = security.encrypt
    if security.require_keys:
        told[API_KEYS_VARIABLE] = str(keys.file(state).absolute())
    # Workers of other roles are asked by this deployment alone, on loopback and in clear.
    if security.private_requests and role == "worker":
        told[ENVELOPES_VARIABLE] = str(envelope_keys(state).absolute())
    if security.tls_certificate is not None and role == "worker":
        told[CERTIFICATE_VARIABLE] = str(security.tls_certificate)
        if security.tls_key is not None:
            told[CERTIFICATE_KEY_VARIABLE] = str(security.tls_key)
        if security.tls_client_ca is not None:
            told[CLIENT_CA_VARIABLE] = str(security.tls_client_ca)
    return told


def envelope_keys(state: Path) -> Path:
    """Where the keys of encrypted requests lie."""
    return control.folder(state) / "envelopes"


def inside(command: list[str], version: Version) -> list[str]:
    """The command in the bento's source, behind the check of its signature where one is asked for; see `verified.py`.

    The process itself goes there: where the bento is gone it ends with the reason in its log, like any other that does
    not come up, and who launched it lives on.
    """
    trusted = version.security.trusted
    if trusted is None:
        return ["sh", "-c", 'cd "$0" && exec "$@"', str(version.path / "src"), *command]
    by = str(trusted) if isinstance(trusted, Path) else trusted.model_dump_json()
    return [sys.executable, "-m", "tasks.deployment.supervisor.verified", by, version.tag, str(version.path), *command]


def check_address(host: str, security: SecuritySettings) -> None:
    """Refuses what would let strangers in.

    Raises:
        InputError: `host` is reached from elsewhere and nobody has to say who he is; or certificates are missing.
    """
    asks = security.require_keys or (security.tls_certificate and security.tls_client_ca)
    if not is_loopback(host) and not asks and not security.force_open:
        raise InputError(
            f"serve.host {host} can be reached from other machines, and nobody would have to show a key: add"
            " --security.require-keys (and `python -m tasks.deployment keys add NAME`),"
            " or --security.force-open true"
        )
    if (security.tls_client_ca or security.tls_key) and not security.tls_certificate:
        raise InputError("security.tls_key and security.tls_client_ca need security.tls_certificate")
    for name in ("tls_certificate", "tls_key", "tls_client_ca"):
        path = getattr(security, name)
        if path is not None and not path.is_file():
            raise InputError(f"security.{name}: there is no file {path}")


@contextmanager
def admitted(security: SecuritySettings, state: Path) -> Iterator[dict[str, Any]]:
    """Options for an `httpx.Client` that this deployment's own checks use; a key of theirs is revoked afterwards."""
    options: dict[str, Any] = {"trust_env": False}
    if security.tls_certificate is not None:
        # The name in the certificate is that of the public address, not of this machine's loopback.
        context = ssl.create_default_context(cafile=str(security.tls_certificate))
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if security.tls_client_ca is not None:
            context.load_cert_chain(security.tls_certificate, security.tls_key)
        options["verify"] = context
    if not security.require_keys:
        yield options
        return
    name = f"deployment check {secrets.token_hex(4)}"
    token = keys.add(state, name, ("predict",), expires=time.time() + _PROBE_SECONDS)
    try:
        yield options | {"headers": {"authorization": f"Bearer {token}"}}
    finally:
        keys.revoke(state, name)
