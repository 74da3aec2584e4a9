"""The sub-word tokeniser that is trained on the texts at hand."""

import numpy as np
import pytest

from bentos.text_classifier.encoding import TokenEncoder
from bentos.text_classifier.text import UNSPACED
from tasks.learning.tokenisers import fit_tokeniser
from tests.tasks.toy import make_texts

TEXTS = [
    "The straße is long",
    "the streets are longer",
    "今天天气很好",
    "สวัสดีครับ",
    "これはテストです",
    "Ｆｕｌｌ width",
    "naïve naïve café",
]


@pytest.fixture(scope="module")
def encoder() -> TokenEncoder:
    return fit_tokeniser(TEXTS * 3, size=500, max_length=12)


def tokens(encoder: TokenEncoder, text: str) -> list[str]:
    return encoder.tokenizer.encode(text).tokens


def test_the_same_texts_in_any_order_give_the_same_vocabulary() -> None:
    texts, _ = make_texts(400, seed=1)
    names = {fit_tokeniser(order, size=300, max_length=16).settings.name for order in (texts, texts, texts[::-1])}
    assert len(names) == 1


def test_another_vocabulary_or_length_has_another_name() -> None:
    names = {fit_tokeniser(TEXTS * 2, size=size, max_length=n).settings.name for size in (200, 80) for n in (8, 9)}
    assert len(names) == 4


@pytest.mark.parametrize("text", ["今天天气很好", "สวัสดีครับ", "これはテストです"])
def test_an_unspaced_sentence_is_a_token_a_character(encoder: TokenEncoder, text: str) -> None:
    assert tokens(encoder, text) == list(text)
    assert f"{text[0]}" in UNSPACED or ord(text[0]) > 0xE00


def test_case_and_width_fold_and_accents_stay(encoder: TokenEncoder) -> None:
    assert tokens(encoder, "FULL ＷＩＤＴＨ") == tokens(encoder, "full width")
    assert tokens(encoder, "naïve") != tokens(encoder, "naive")


def test_a_cased_one_keeps_case() -> None:
    cased = fit_tokeniser(TEXTS * 3, size=500, max_length=12, cased=True)
    assert tokens(cased, "The") != tokens(cased, "the")
    assert tokens(cased, "Ｔｈｅ") == tokens(cased, "The")


def test_an_empty_text_has_no_token_and_an_unknown_one_has(encoder: TokenEncoder) -> None:
    ids = encoder.encode(["", "\U000107a0\U000107a1", "long"])[encoder.settings.name]
    assert (ids != encoder.settings.pad_id).sum(axis=1).tolist() == [0, 1, 1]


def test_the_padding_mark_in_a_text_is_no_padding(encoder: TokenEncoder) -> None:
    assert encoder.settings.pad_id not in encoder.tokenizer.encode("a [PAD] b").ids


def test_it_is_the_same_after_a_round_trip_and_cuts_at_its_length(encoder: TokenEncoder) -> None:
    loaded = TokenEncoder.load(encoder.settings, lambda name: encoder.dump())
    texts = [*TEXTS, "long " * 40]
    name = encoder.settings.name
    assert np.array_equal(loaded.encode(texts)[name], encoder.encode(texts)[name])
    assert loaded.encode(texts)[name].shape[1] == 12


def test_tokens_lead_back_to_the_text(encoder: TokenEncoder) -> None:
    text = "The streets 今天"
    (places,) = encoder.offsets([text])
    assert "".join(text[start:end] for start, end in places) == text.replace(" ", "")
