"""Personal data found in texts and taken out of them: e-mail, telephone, card and identity numbers, addresses.

Numbers with a check digit count only when it is right, so that ordinary numbers stay. Names need a
model of their own, which may be given. One policy holds wherever texts are kept:

`keep` changes nothing; `mask` puts the kind, as in [email]; `hash` adds a keyed hash, so that equal
values stay equal, as in [email:3f9a0c51e2]; `drop` leaves the text out.
"""

import hashlib
import ipaddress
import logging
import re
from bisect import bisect
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Literal, NamedTuple

Policy = Literal["keep", "mask", "hash", "drop"]

_ANY = re.compile(r"[@\d]|://")
_CN_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)


class Found(NamedTuple):
    """A value of a kind, in code points of the text."""

    kind: str
    start: int
    end: int


def luhn(number: str) -> bool:
    """The check of card numbers (ISO/IEC 7812): every second digit from the right doubled."""
    digits = [int(digit) for digit in number if digit.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def chinese_id(number: str) -> bool:
    """The check of resident identity numbers (GB 11643, ISO 7064 MOD 11-2) with a possible date of birth."""
    month, day = int(number[10:12]), int(number[12:14])
    total = sum(weight * int(digit) for weight, digit in zip(_CN_WEIGHTS, number, strict=False))
    return 1 <= month <= 12 and 1 <= day <= 31 and "10X98765432"[total % 11] == number[17].upper()


def iban(number: str) -> bool:
    """The check of account numbers (ISO 13616): the rearranged number is 1 modulo 97."""
    compact = number.replace(" ", "").upper()
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(mark, 36)) for mark in compact[4:] + compact[:4])) % 97 == 1


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _telephone(text: str) -> bool:
    return 7 <= sum(map(str.isdigit, text)) <= 15


# Found from their `://` or `@` on: one pattern for the whole takes a time that grows with the cube of a text's length,
# or tries a name at every letter. What stands before is matched backwards.
_BEFORE_URL = re.compile(r"[a-z0-9+.-]{1,20}[a-z]", re.IGNORECASE)
_BEFORE_AT = re.compile(r"[\w.+%-]{1,64}")
_LONGEST_BEFORE = 64
_REST = re.compile(r"\S*")
_LOGIN = re.compile(r"[^\s/@:]+:[^\s/@]+@\S")
_QUERY = re.compile("[?#]")
_SECRET = re.compile(r"(?:token|key|secret|password|passwd|pwd|auth|session|sid|sig|signature|code)=\S", re.IGNORECASE)
_DOMAIN = re.compile(r"[\w-]+(?:\.[\w-]+)+")


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
        domain = _DOMAIN.match(text, mark + 1)
        if domain and (length := _before(_BEFORE_AT, text, end, mark)):
            end = domain.end()
            yield Found("email", mark - length, end)
        mark = text.find("@", max(mark + 1, end))


_DETECTORS: tuple[tuple[str, re.Pattern[str], Callable[[str], bool] | None], ...] = (
    ("ip", re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)"), _address),
    ("ip", re.compile(r"(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])", re.IGNORECASE), _address),
    ("id", re.compile(r"(?<!\d)[1-9]\d{5}(?:18|19|20)\d{2}\d{4}\d{3}[\dXx](?![\dA-Za-z])", re.ASCII), chinese_id),
    ("account", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b", re.ASCII), iban),
    ("card", re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)", re.ASCII), luhn),
    # United States (SSN) and United Kingdom (national insurance) numbers.
    ("id", re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])", re.ASCII), None),
    ("id", re.compile(r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b", re.ASCII), None),
    ("telephone", re.compile(r"(?<![\w+])\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,6}(?!\d)", re.ASCII), _telephone),
    ("telephone", re.compile(r"(?<![\d-])1[3-9]\d(?:[ -]?\d{4}){2}(?!\d)", re.ASCII), None),
    ("telephone", re.compile(r"(?<![\d-])(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[ .-]\d{4}(?![\d-])", re.ASCII), None),
    ("telephone", re.compile(r"(?<![\d-])0\d{2,4}[ -/]\d{5,8}(?!\d)", re.ASCII), _telephone),
)


def find(text: str, names: Sequence[Found] = ()) -> list[Found]:
    """What is personal in `text`, in order and without overlaps; of `names` those that no pattern covers."""
    if not names and not _ANY.search(text):
        return []
    found: list[Found] = []
    for one in (*_candidates(text), *names):
        place = bisect(found, one.start, key=_start)
        before, after = found[place - 1 : place], found[place : place + 1]
        if not (before and before[0].end > one.start) and not (after and after[0].start < one.end):
            found.insert(place, one)
    return found


_start = attrgetter("start")


def _candidates(text: str) -> Iterator[Found]:
    yield from _urls(text)
    yield from _emails(text)
    for kind, pattern, check in _DETECTORS:
        for match in pattern.finditer(text):
            if check is None or check(match.group()):
                yield Found(kind, match.start(), match.end())


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
        return f"[{kind}:{self.pseudonym(value)}]" if self.policy == "hash" else f"[{kind}]"

    def pseudonym(self, value: str) -> str:
        """The hash that stands for `value`; case and separators do not matter."""
        same = re.sub(r"[ ()/-]", "", value.casefold())
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
