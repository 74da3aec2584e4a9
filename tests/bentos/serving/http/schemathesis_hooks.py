"""Teaches schemathesis to send newline-delimited JSON; named to it by SCHEMATHESIS_HOOKS."""

from typing import Any

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(context: Any, value: Any) -> bytes:
    return str(value).encode("utf-8", "replace")
