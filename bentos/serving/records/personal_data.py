"""Personal data found in texts and taken out of them: e-mail, telephone, card and identity numbers, addresses.

Texts are looked at in one plain form: full-width signs, foreign digits, dashes
and spaces of every kind count as the ASCII ones, invisible signs not at all. Names need a model of their own, which
may be given. One policy holds wherever texts are kept:

`keep` changes nothing; `mask` puts the kind, as in [email]; `hash` adds a keyed hash, so that equal
values stay equal, as in [email:3f9a0c51e2]; `drop` leaves the text out.
"""

import hashlib
import logging
import re
import unicodedata
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Literal, NamedTuple

from bentos.serving.records.personal_numbers import NUMBERS, numbers

Policy = Literal["keep", "mask", "hash", "drop"]

_ANY = re.compile(r"[@\d]|:[:/]")


class Found(NamedTuple):
    """A value of a kind, in code points of the text."""

    kind: str
    start: int
    end: int


# Found from their `://` or `@` on: one pattern for the whole takes a time that grows with the cube of a text's length,
# or tries a name at every letter. What stands before is matched backwards.
_BEFORE_URL = re.compile(r"[a-z0-9+.-]{1,20}[a-z]", re.IGNORECASE)
# Chinese, Japanese and Korean are written without spaces: what stands there beside an address of other letters is text.
_OTHER = r"\u2e80-\ud7ff"
_BEFORE_AT = (re.compile(rf"(?:[^\W{_OTHER}]|[.+%'-]){{1,64}}"), re.compile(r"[\w.+%-]{1,64}"))
_LONGEST_BEFORE = 64
_REST = re.compile(r"\S*")
_LOGIN = re.compile(r"[^\s/@:]+:[^\s/@]+@\S")
_QUERY = re.compile("[?#]")
_SECRET = re.compile(r"(?:token|key|secret|password|passwd|pwd|auth|session|sid|sig|signature|code)=\S", re.IGNORECASE)
# What ends in digits is a version, as in lodash@4.17.21.
_DOMAINS = (
    re.compile(
        rf"(?:(?:[^\W{_OTHER}]|-)+\.)+(?:[^\W\d_{_OTHER}]{{2,63}}|xn--[a-z\d-]+)(?![^\W{_OTHER}])", re.IGNORECASE
    ),
    re.compile(r"(?:[\w-]+\.)+[^\W\d_]{2,63}"),
)


def _before(pattern: re.Pattern[str], text: str, start: int, end: int) -> int:
    """How many characters just before `end` the pattern matches, read backwards; none before `start`."""
    match = pattern.match(text[max(start, end - _LONGEST_BEFORE) : end][::-1])
    return match.end() if match else 0


def _urls(text: str) -> Iterator[Found]:
    """Addresses with a login, or with a secret among their parameters."""
    end = 0
    while (mark := text.find("://", end)) >= 0:
        begun, end = end, _REST.match(text, mark).end()  # type: ignore[union-attr]  # matches what is empty, too
        first = True
        while mark >= 0:
            if length := _before(_BEFORE_URL, text, begun, mark):
                # A secret that does not belong to the first address belongs to none.
                query = _QUERY.search(text, mark + 3, end) if first else None
                if _LOGIN.match(text, mark + 3, end) or (query and _SECRET.search(text, query.end(), end)):
                    yield Found("url", mark - length, end)
                    break
                first = False
            mark = text.find("://", mark + 3, end)


def _emails(text: str) -> Iterator[Found]:
    end = 0
    mark = text.find("@")
    while mark >= 0:
        domain = next(filter(None, (pattern.match(text, mark + 1) for pattern in _DOMAINS)), None)
        length = next(filter(None, (_before(pattern, text, end, mark) for pattern in _BEFORE_AT)), 0) if domain else 0
        if domain and length:
            end = domain.end()
            yield Found("email", mark - length, end)
        mark = text.find("@", max(mark + 1, end))


def _plain(text: str) -> tuple[str, list[int] | None]:
    """The text in its plain form, and the place of each of its characters where some were left out."""
    if text.isascii():
        return text, None
    table = {char: _ascii_like(char) for char in set(text) if not char.isascii()}
    plain = text.translate(str.maketrans(table))
    if len(plain) == len(text):
        return plain, None
    return plain, [place for place, char in enumerate(text) if table.get(char) != ""]


def _ascii_like(char: str) -> str:
    """The ASCII character that a reader takes it for; empty for an invisible one, itself for any other."""
    category = unicodedata.category(char)
    if category == "Cf":
        return ""
    if category == "Zs":
        return " "
    if category == "Pd" or char == "\N{MINUS SIGN}":
        return "-"
    if category == "Nd":
        return str(unicodedata.decimal(char))
    same = unicodedata.normalize("NFKC", char)
    return same if len(same) == 1 else char


def find(text: str, names: Sequence[Found] = ()) -> list[Found]:
    """What is personal in `text`, in order and without overlaps; of `names` those that no pattern covers."""
    plain, places = _plain(text)
    if not names and not _ANY.search(plain):
        return []
    found: list[Found] = []
    candidates: Iterable[Found] = _candidates(plain)
    if places is not None:
        candidates = (Found(one.kind, places[one.start], places[one.end - 1] + 1) for one in candidates)
    for one in (*candidates, *names):
        place = bisect(found, one.start, key=_start)
        before, after = found[place - 1 : place], found[place : place + 1]
        if not (before and before[0].end > one.start) and not (after and after[0].start < one.end):
            found.insert(place, one)
    return found


_start = attrgetter("start")


def _candidates(text: str) -> Iterator[Found]:
    yield from _urls(text)
    yield from _emails(text)
    for kind, start, end in numbers(text):
        yield Found(kind, start, end)


class Redactor:
    """The policy at work.

    Args:
        key: of the hashes; needed for `hash` alone. Whoever has it can test guesses.
        names: what finds names.
    """

    def __init__(
        self, policy: Policy, key: bytes = b"", names: Callable[[str], Sequence[Found]] = lambda text: ()
    ) -> None:
        if policy == "hash" and not key:
            raise ValueError("the policy `hash` needs a key")
        self.policy = policy
        self._key = key
        self._names = names

    def __call__(self, text: str) -> str | None:
        """The text as it may be kept; None when it may not."""
        if self.policy == "keep" or not (found := find(text, self._names(text))):
            return text
        return None if self.policy == "drop" else self.masked(text, found)

    def masked(self, text: str, found: list[Found] | None = None) -> str:
        """The text with every value replaced, also under `drop`; as it is under `keep`."""
        if self.policy == "keep":
            return text
        parts, end = [], 0
        for one in find(text, self._names(text)) if found is None else found:
            parts += [text[end : one.start], self._stand_in(one.kind, text[one.start : one.end])]
            end = one.end
        return "".join([*parts, text[end:]])

    def _stand_in(self, kind: str, value: str) -> str:
        if self.policy != "hash":
            return f"[{kind}]"
        return f"[{kind}:{self.pseudonym(value.replace('.', '') if kind in NUMBERS else value)}]"

    def pseudonym(self, value: str) -> str:
        """The hash that stands for `value`; case, separators and the width of its signs do not matter."""
        same = re.sub(r"[ ()/-]", "", _plain(value)[0].casefold())
        return hashlib.blake2b(same.encode("utf-8", "replace"), key=self._key[:64], digest_size=5).hexdigest()


def mask_logs() -> None:
    """From now on what the process logs, tracebacks included, is masked."""
    mask, plain = Redactor("mask"), logging.Formatter()

    def masked(record: logging.LogRecord) -> bool:
        record.msg, record.args = mask.masked(record.getMessage()), ()
        if record.exc_info:
            record.exc_text = mask.masked(plain.formatException(record.exc_info))
        return True

    for handler in logging.getLogger().handlers:
        handler.addFilter(masked)
