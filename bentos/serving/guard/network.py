"""What a worker is told by environment variables of the network that it serves: keys, envelopes, certificates."""

import ipaddress
import ssl
from collections.abc import Mapping
from typing import Any

API_KEYS_VARIABLE = "MODEL_SERVICE_API_KEYS"
ENVELOPES_VARIABLE = "MODEL_SERVICE_ENVELOPES"
CERTIFICATE_VARIABLE = "MODEL_SERVICE_TLS_CERTIFICATE"
CERTIFICATE_KEY_VARIABLE = "MODEL_SERVICE_TLS_KEY"
CLIENT_CA_VARIABLE = "MODEL_SERVICE_TLS_CLIENT_CA"

ENCRYPTION_HEADER = b"x-encryption"
"""Marks encrypted requests and answers; see `envelope.py`."""
KEYS_PATH = "/keys"
"""Where the key to encrypt to is published."""


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def tls(environment: Mapping[str, str]) -> dict[str, Any]:
    """uvicorn's settings for HTTPS, and for client certificates; empty for plain HTTP."""
    certificate = environment.get(CERTIFICATE_VARIABLE)
    if not certificate:
        return {}
    settings: dict[str, Any] = {
        "ssl_certfile": certificate,
        "ssl_keyfile": environment.get(CERTIFICATE_KEY_VARIABLE) or None,
    }
    if authority := environment.get(CLIENT_CA_VARIABLE):
        settings |= {"ssl_ca_certs": authority, "ssl_cert_reqs": ssl.CERT_REQUIRED}
    return settings
