"""What a column's values look like: texts, labels, or marks that an annotator left."""

from collections.abc import Sequence
from statistics import mean, median
from typing import Any

from bentos.text_classifier.text import holds_unspaced

_TEXT_WORDS = 3
_LABEL_CHARACTERS = 60

_FLAGS = ("was_cancelled", "skipped", "is_skipped", "rejected", "is_rejected", "discarded", "is_discarded")
# What annotation tools write; "status" alone is also a column of shops and banks, where "rejected" is a fact.
_WORDS = ("reject", "rejected", "ignore", "ignored", "skip", "skipped", "discard", "discarded")
_WORDS_BY_NAME = {
    **dict.fromkeys(("answer", "annotation_status", "response_status", "review_status"), _WORDS),
    "status": ("skipped", "discarded"),
    **dict.fromkeys(_FLAGS, ("true", "1", "yes")),
}
MARK_NAMES = tuple(_WORDS_BY_NAME)


def marked_out(name: str, value: Any) -> bool:
    """Whether an annotator's mark says that a row is none: rejected, ignored or skipped.

    Args:
        name: one of `MARK_NAMES`.
    """
    return value is not None and str(value).strip().casefold() in _WORDS_BY_NAME[name]


def looks_like_text(values: Sequence[Any]) -> bool:
    """Whether most values are different strings of three words or more."""
    filled = _filled(values)
    found = [value for value in filled if isinstance(value, str)]
    if len(found) <= len(filled) / 2 or len(set(found)) <= len(found) / 2:
        return False
    letters = mean(sum(map(str.isalpha, value)) / len(value) for value in found)
    return letters > 0.5 and median(map(_word_count, found)) >= _TEXT_WORDS


def looks_like_labels(values: Sequence[Any]) -> bool:
    """Whether the values are short and repeat, so that there are twice as many as different ones; or are lists.

    Of no values nothing is known, and they may be.
    """
    filled = _filled(values)
    if not filled or any(isinstance(value, (list, tuple)) for value in filled):
        return True
    shown = [str(value) for value in filled]
    return len(set(shown)) <= len(shown) / 2 and mean(map(len, shown)) <= _LABEL_CHARACTERS


def holds_letters(values: Sequence[Any]) -> bool:
    """Whether most values hold a letter, as no number or date does; of no values nothing is known."""
    filled = _filled(values)
    return sum(any(map(str.isalpha, str(value))) for value in filled) >= len(filled) / 2


def _filled(values: Sequence[Any]) -> list[Any]:
    return [value for value in values if value is not None and value == value and str(value).strip()]


def _word_count(value: str) -> int:
    """Words with a letter between spaces: an address or a path is one. In unspaced scripts each letter is a word."""
    return sum(sum(map(holds_unspaced, part)) or any(map(str.isalpha, part)) for part in value.split())
