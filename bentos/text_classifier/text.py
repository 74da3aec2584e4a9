"""Cleaning that training and serving share."""

import re
import unicodedata

# Scripts written without spaces between words: Han, kana, Thai, Lao, Khmer, Myanmar. Each character is a
# word of its own, so that word n-grams are character n-grams there.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
)
_WORDS = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|[^\w\s]")
_UNSPACED = re.compile(f"[{UNSPACED}]")
_SURROGATES = re.compile("[\ud800-\udfff]")
# Controls and zero-width marks carry no meaning for a label, but ZWJ and ZWNJ do in Indic and Persian words.
_INVISIBLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u200b\u2060\ufeff\u00ad]")
# Normalising sorts the marks that follow a letter in a time that grows with the square of their number: 100,000 of them
# would take a minute. Unicode's stream-safe form has at most 30. Every mark is neither a word nor a space.
_MOST_MARKS = 30
_PERHAPS_MARKS = re.compile(rf"[^\w\s\x00-\x7f]{{{_MOST_MARKS + 1},}}")


def clean(text: str) -> str:
    """`text` as every encoder sees it: valid Unicode, composed, one space between words.

    Lone surrogates become U+FFFD, invisible marks go, and of combining marks those beyond 30 in a row. Case and width
    stay.
    """
    if not (text.isascii() and text.isprintable()):
        text = _SURROGATES.sub("\ufffd", text)
        text = unicodedata.normalize("NFC", _PERHAPS_MARKS.sub(_few_marks, _INVISIBLE.sub("", text)))
    return " ".join(text.split())


def _few_marks(run: re.Match[str]) -> str:
    kept, marks = [], 0
    for character in run.group():
        marks = marks + 1 if unicodedata.combining(character) else 0
        if marks <= _MOST_MARKS:
            kept.append(character)
    return "".join(kept)


def fold(text: str) -> str:
    """`clean` text without differences of case and width (NFKC, case folding): equal texts fold equally."""
    return clean(unicodedata.normalize("NFKC", clean(text)).casefold())


def words(folded: str) -> list[str]:
    """Words of a `fold`ed text: runs of letters and digits, single marks, single unspaced characters."""
    return _WORDS.findall(folded)


def holds_unspaced(text: str) -> bool:
    """Whether a character of `text` is of a script written without spaces, and so a word of its own."""
    return _UNSPACED.search(text) is not None
