"""What cleaning leaves of nasty texts."""

import unicodedata

import pytest

from bentos.text_classifier.text import clean, fold


@pytest.mark.timeout(60)
@pytest.mark.parametrize("between", ["", "\u200b"], ids=["marks", "marks hidden in invisible ones"])
def test_endless_marks_on_a_letter_take_no_endless_time_and_leave_thirty(between: str) -> None:
    """Sorting all of them takes minutes."""
    text = "a" + between.join("\u0316\u0300" * 50_000) + " b"
    assert sum(map(unicodedata.combining, clean(text))) > 0
    assert sum(unicodedata.combining(one) > 0 for one in clean(text)) <= 30
    assert clean(text).endswith(" b")
    assert fold(text) == fold(clean(text))


@pytest.mark.parametrize("text", ["a" + "\u0316\u0300" * 15, "，。" * 100, "👍🏽" * 50, "e\u0301 " * 100])
def test_what_people_write_stays(text: str) -> None:
    assert clean(text) == unicodedata.normalize("NFC", text).strip()
