"""Spans of a tagged text, checked and moved to where they lie in the cleaned text."""

from itertools import pairwise
from typing import Any

from bentos.text_classifier.text import clean

# A private-use character keeps `clean` from joining or trimming what stands before a place.
_MARK = "\ue000"


def read_spans(text: str, spans: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]], str | None]:
    """(cleaned text, spans in its code points by start, why they cannot be used).

    Each span has whole numbers `start` < `end` within the text, and a `label`; spans do not overlap.
    """
    found = []
    for span in spans:
        start, end, label = (span.get(key) if isinstance(span, dict) else None for key in ("start", "end", "label"))
        if type(start) is not int or type(end) is not int or label is None or isinstance(label, (list, dict)):
            return text, [], "a span needs whole numbers start and end, and a label"
        if not 0 <= start < end <= len(text):
            return text, [], "a span lies outside of its text"
        found.append({"start": start, "end": end, "label": str(label)})
    found.sort(key=lambda span: (span["start"], span["end"]))
    if any(later["start"] < earlier["end"] for earlier, later in pairwise(found)):
        return text, [], "two spans overlap"
    cleaned = clean(text)
    if cleaned != text:
        found = [
            {**span, "start": _moved(text, span["start"]), "end": min(_moved(text, span["end"]), len(cleaned))}
            for span in found
        ]
        found = [span for span in found if span["start"] < span["end"]]
    return cleaned, found, None


def _moved(text: str, place: int) -> int:
    return len(clean(text[:place] + _MARK)) - 1
