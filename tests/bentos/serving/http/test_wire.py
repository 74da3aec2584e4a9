import json
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from bentos.serving.http.problems import Problem
from bentos.serving.http.wire import decode


class Body(msgspec.Struct, forbid_unknown_fields=True):
    text: str
    most: Annotated[int, Meta(ge=1, le=9)] = 1


READ = msgspec.json.Decoder(Body)


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r"\ud800 goal", "\ufffd goal"),
        (r"\ud83d\ude00", "\U0001f600"),
        (r"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (r"\udc00\ud800", "\ufffd\ufffd"),
        (r"\\ud800 \uD800", "\\ud800 \ufffd"),
        (r"\"\ud800\" \n \u00e9", '"\ufffd" \n é'),
        (r"\ud800\u0041", "\ufffdA"),
    ],
)
def test_lone_surrogates_alone_become_replacement_characters(written: str, text: str) -> None:
    assert decode(b'{"text": "%s"}' % written.encode(), READ).text == text


@given(st.text(st.characters(codec=None), max_size=30))
def test_any_text_that_json_can_spell_is_read_with_each_lone_surrogate_replaced(text: str) -> None:
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    read = decode(json.dumps({"text": text}).encode(), READ).text
    # A decoder of UTF-16 may take one mark for several lone halves; each of them is one here.
    assert read.replace("\ufffd", "") == whole.replace("\ufffd", "")
    assert not any("\ud800" <= character <= "\udfff" for character in read)


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        (b'{"text": "\\ud8"}', 400, None),
        (b'{"text": "\\ud800", "most": NaN}', 400, None),
        (b'{"text": "\\ud800", "most": 1e999}', 422, "most"),
        (b'{"text": "a", "most": %s}' % (b"9" * 400), 422, "most"),
        (b'{"text": "a", "most": %s}' % (b"9" * 5000), 422, "most"),
        (b'{"text": "a", "most": -%s}' % (b"9" * 400), 422, "most"),
        (b'{"text": "a", "most": 1e308}', 422, "most"),
        (b'{"texts": ["a"]}', 422, "texts"),
        (b"{}", 422, "text"),
        (b"[]", 422, None),
        (b"\xff", 400, None),
    ],
)
def test_what_cannot_be_read_is_a_refusal(body: bytes, status: int, field: str | None) -> None:
    with pytest.raises(Problem) as problem:
        decode(body, READ)
    assert (problem.value.details.status, problem.value.details.field) == (status, field)


def test_a_body_of_another_form_is_told_the_fields() -> None:
    for body in (b'{"texts": ["a"]}', b"{}", b"[]", b'"a"', b"1"):
        with pytest.raises(Problem, match="wanted is an object of 'text' and, where wanted, 'most'"):
            decode(body, READ)
