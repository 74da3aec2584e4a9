"""What names the person, found in every spelling in which a file may hold it."""

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from html.entities import html5
from typing import Any
from urllib.parse import quote, unquote

FORGOTTEN = "[forgotten]"
_SPACE = rb"(?:\s|\xc2\xa0|\xe3\x80\x80|\\+[nrt]|&(?:amp;)*(?:nbsp|#0*(?:9|10|13|32|160)|#x0*(?:9|a|d|20|a0));|%20|\+)+"
_NAMED: dict[str, list[str]] = {}
for _name, _meant in html5.items():
    if _name.endswith(";"):
        _NAMED.setdefault(_meant, []).append(_name)
_TIMES_ESCAPED = 3


class Fixed(Exception):
    """What is sought stands where it cannot be taken out without harm: in a column's name, within numbers."""


class Sought:
    """The values, whatever their case; plain, and as JSON, HTML, CSV and addresses spell their characters."""

    def __init__(self, values: Sequence[str]) -> None:
        plain = [value.strip() for value in values]
        forms = {unicodedata.normalize(form, value) for value in plain for form in ("NFC", "NFD", "NFKC")} | {*plain}
        self._pattern = re.compile(b"|".join(_spelled(form) for form in sorted(forms)), re.IGNORECASE)
        wide = [form.encode(code) for form in sorted(forms) for code in ("utf-16-le", "utf-16-be")]
        self._wide = re.compile(b"|".join(map(re.escape, wide)), re.IGNORECASE)
        self._folded = [_folded(form) for form in sorted(forms)]
        self.numbers = {int(value) for value in plain if value.isascii() and value.isdigit()}

    def in_bytes(self, content: Any) -> bool:
        """Whether these bytes (or what has their interface, as a mapped file) hold a value."""
        return self._pattern.search(content) is not None

    def in_any_bytes(self, content: Any) -> bool:
        """The same for content of no known form, where text may stand in 16 bits a character too."""
        return self.in_bytes(content) or self._wide.search(content) is not None

    def in_unescaped(self, content: bytes) -> bool:
        """Whether a value shows once every escape in the text is undone, however often it was applied."""
        text = content.decode("utf-8", "replace")
        for _ in range(_TIMES_ESCAPED):
            folded = _folded(text)
            if any(value in folded for value in self._folded):
                return True
            before = text
            text = html.unescape(unquote(_UNICODE.sub(lambda found: chr(int(found[1], 16)), text)))
            if text == before:
                break
        return False

    def holds(self, value: object) -> bool:
        """Whether a value, at any depth in lists and mappings, is or contains what is sought."""
        match value:
            case str():
                return self.in_bytes(_encoded(value))
            case bytes():
                return self.in_any_bytes(value)
            case bool() | None:
                return False
            case int() | float():
                return value in self.numbers
            case Mapping():
                return any(self.holds(key) or self.holds(inner) for key, inner in value.items())
            case list() | tuple():
                return any(self.holds(inner) for inner in value)
        return False

    def blanked(self, content: bytes) -> tuple[bytes, int]:
        """The content with FORGOTTEN in place of each value, and how many there were."""
        return self._pattern.subn(FORGOTTEN.encode(), content)

    def blanked_text(self, text: str) -> str:
        """The same of a text."""
        return self._pattern.sub(FORGOTTEN.encode(), _encoded(text)).decode("utf-8", "surrogatepass")

    def places(self, content: bytes) -> list[tuple[int, int]]:
        """Start and end of each value in the content."""
        return [found.span() for found in self._pattern.finditer(content)]


_UNICODE = re.compile(r"\\+u([0-9a-fA-F]{4})")


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _folded(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _spelled(value: str) -> bytes:
    return b"".join(_SPACE if part.isspace() else _character(part) for part in re.findall(r"\s+|\S", value))


def _character(character: str) -> bytes:
    """A pattern for the character in its spellings; nothing that writes here escapes letters and digits of ASCII."""
    if character.isascii() and character.isalnum():
        return character.encode()
    found: set[bytes] = set()
    for form in {character, character.lower(), character.upper()}:
        found.add(re.escape(_encoded(form)))
        found.add(re.escape(quote(form, safe="", errors="replace").encode()))
        if len(form) == 1:
            units = form.encode("utf-16-be", "surrogatepass")
            found.add(b"".join(rb"\\+u%02x%02x" % (units[at], units[at + 1]) for at in range(0, len(units), 2)))
            found.add(rb"&(?:amp;)*#0*%d;" % ord(form))
            found.add(rb"&(?:amp;)*#x0*%x;" % ord(form))
        found |= {b"&(?:amp;)*" + name.encode() for name in _NAMED.get(form, ())}
    if character == '"':
        found.add(b'""')
    escaped = rb"\\*" if character in '"\\/' else b""
    # The longest first: of `""` the second mark belongs to it.
    return escaped + b"(?:" + b"|".join(sorted(found, key=len, reverse=True)) + b")"
