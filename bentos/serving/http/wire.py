"""JSON as it is read and written: strict, and a refused body is told its field and reason."""

import re
from typing import Any, TypeVar

import msgspec

from bentos.serving.http.problems import Problem

Body = TypeVar("Body")


def decode(body: bytes, decoder: "msgspec.json.Decoder[Body]") -> Body:
    """The request in `body`; lone surrogates, which JSON can spell and UTF-8 cannot, become U+FFFD.

    Raises:
        Problem: 400 for what is no JSON, 422 for a wrong or missing field.
    """
    try:
        if _SURROGATE.search(body):
            body = _ESCAPE.sub(_whole_escape, body)
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise refusal(error, decoder.type) from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise Problem(400, f"the body is no valid JSON in UTF-8: {error}") from None


def _whole_escape(match: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if match["lone"] else match[0]


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# From one backslash to the next, so that none of a pair, and no `u` after a doubled backslash, counts as an escape.
_ESCAPE = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
_PLACE = re.compile(r"^(?P<reason>.*?)(?: - at `\$\.?(?P<place>.*)`)?$", re.DOTALL)
_NAMED = re.compile(r"field `(?P<name>[^`]*)`")


def refusal(error: msgspec.ValidationError, expected: Any = None) -> Problem:
    """422 with the place in the request that msgspec names.

    Args:
        expected: the body's type: where the whole body is not of its form, the reason lists its fields.
    """
    match = _PLACE.match(str(error))
    reason, place = (match["reason"], match["place"] or "") if match else (str(error), "")
    reason = reason.replace("`", "'")
    named = _NAMED.search(str(error))
    if not place and isinstance(expected, type) and issubclass(expected, msgspec.Struct):
        reason = f"{reason}; wanted is an object of {_fields(expected)}"
    if named:
        place = f"{place}.{named['name']}" if place else named["name"]
    return Problem(422, reason, place or None)


def _fields(expected: type[msgspec.Struct]) -> str:
    """In words: `'texts'` and, where wanted, `'top_k'` or `'labels'`."""
    fields = msgspec.structs.fields(expected)
    needed = [f"'{one.encode_name}'" for one in fields if one.required]
    others = [f"'{one.encode_name}'" for one in fields if not one.required]
    words = " and ".join(needed)
    return f"{words} and, where wanted, {', '.join(others)}" if others and words else words or ", ".join(others)


def encode(answer: Any) -> bytes:
    """Strict JSON: no NaN, no lone surrogates."""
    return msgspec.json.encode(answer)
