"""Sub-word ids: word by word, where it makes no difference to cutting whole texts."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from bentos.text_classifier import pieces
from bentos.text_classifier.pieces import Pieces
from bentos.text_classifier.text import clean
from tasks.learning.tokenisers import fit_tokeniser
from tests.tasks.toy import make_texts

SAMPLE = (
    "How do I top-up my card?",
    "naïve Café ＦＵＬＬ ΣΑΣ ﬁne I\u0307stanbul",
    "[MASK] [CLS] the [SEP]",
    "\u0301acute first \u00a8 x\u0308",
    "今天 weather 很好 สวัสดี",
    "a\u200db c\u00a0d",
    "it's $5.00 #hash @name user_name",
    "",
    "unbelievability " * 20,
    "x" * 40 + " short",
)
MOST = 24


def own() -> Tokenizer:
    return fit_tokeniser([*SAMPLE, *make_texts(200, seed=1)[0]], size=300, max_length=MOST).tokenizer


def bert() -> Tokenizer:
    """With BERT's normalizer and the marks around a text."""
    tokenizer = own()
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[CLS]", "[SEP]", AddedToken("[MASK]", lstrip=True)])
    marks = [(mark, tokenizer.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
    return tokenizer


def unsplit() -> Tokenizer:
    """As SentencePiece: a space is a character of the word after it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
    trainer = trainers.BpeTrainer(vocab_size=200, show_progress=False)
    tokenizer.train_from_iterator(["on and on and on", "now and then"] * 10, trainer)
    tokenizer.enable_truncation(MOST)
    return tokenizer


def two_words_in_one() -> Tokenizer:
    tokenizer = own()
    tokenizer.add_tokens([AddedToken("top up")])
    return tokenizer


def split_by_a_pattern() -> Tokenizer:
    tokenizer = own()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("s t"), "isolated"), pre_tokenizers.BertPreTokenizer()]
    )
    return tokenizer


def added_as(token: str) -> Callable[[], Tokenizer]:
    """An added token of two words once it is normalised."""

    def make() -> Tokenizer:
        tokenizer = own()
        tokenizer.add_tokens([AddedToken(token, normalized=True)])
        return tokenizer

    return make


def twice() -> Tokenizer:
    """Each text with itself."""
    tokenizer = own()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A $A", special_tokens=[])
    return tokenizer


def replaced_across_spaces() -> Tokenizer:
    tokenizer = own()
    tokenizer.normalizer = normalizers.Replace("s t", "st")
    return tokenizer


@pytest.mark.parametrize("make", [own, bert])
def test_words_are_cut_once(make: Callable[[], Tokenizer]) -> None:
    counted = Counted(make())
    found = Pieces(counted, MOST)  # type: ignore[arg-type]
    texts = ["the card of the bank", "the bank"]
    ids = [found.of(texts) for _ in range(3)]
    assert ids == [whole(counted._tokenizer, texts)] * 3
    counted.texts = 0
    assert found.of(texts) == ids[0]
    assert counted.texts == 0


@pytest.mark.parametrize(
    "make",
    [
        unsplit,
        two_words_in_one,
        added_as("top\u00a0up"),
        added_as("top\tup"),
        split_by_a_pattern,
        replaced_across_spaces,
        twice,
    ],
)
def test_texts_are_cut_whole_where_words_depend_on_their_neighbours(make: Callable[[], Tokenizer]) -> None:
    tokenizer = make()
    texts = ["on and on", "please top up", "nets table", *map(clean, SAMPLE)]
    assert Pieces(tokenizer, MOST).of(texts) == whole(tokenizer, texts)


@pytest.fixture(scope="module", params=[own, bert])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    found: Tokenizer = request.param()
    return found


@given(st.data())
def test_ids_are_those_of_whole_texts(tokenizer: Tokenizer, data: st.DataObject) -> None:
    parts = st.one_of(st.sampled_from(" ".join(SAMPLE).split(" ")), st.text(max_size=12))
    texts = data.draw(st.lists(st.lists(parts, max_size=30).map(" ".join).map(clean), max_size=4))
    assert Pieces(tokenizer, MOST).of(texts) == whole(tokenizer, texts)


def test_it_remembers_so_many_words_and_no_long_ones(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MOST_WORDS", 50)
    found = Pieces(tokenizer, MOST)
    texts = [f"common w{number} " + "y" * (number % 40) for number in range(400)]
    for text in texts:
        assert found.of([clean(text)]) == whole(tokenizer, [clean(text)])
    words = found._known.keys() | found._older.keys()
    assert "common" in words
    assert len(words) <= 2 * (50 + 3)
    assert max(map(len, words)) <= pieces.LONGEST_WORD


@pytest.mark.parametrize("most", [1, 2, 3])
def test_texts_are_cut_like_whole_ones_where_there_is_no_room_for_marks(most: int) -> None:
    tokenizer = bert()
    tokenizer.enable_truncation(most)
    texts = ["", "the card", "the card of the bank"]
    assert Pieces(tokenizer, most).of(texts) == whole(tokenizer, texts)


def test_of_many_new_words_few_are_learned_and_the_text_is_cut_once() -> None:
    counted = Counted(own())
    found = Pieces(counted, MOST)  # type: ignore[arg-type]
    text = " ".join(f"w{number}" for number in range(5_000))
    assert found.of([text]) == whole(counted._tokenizer, [text])
    assert counted.texts == pieces.MOST_NEW + 1 == len(found._known) + 1


def test_threads_may_share_it(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MOST_WORDS", 20)
    found = Pieces(tokenizer, MOST)
    batches = [[f"w{a * b % 97} v{a} the" for a in range(20)] for b in range(200)]
    with ThreadPoolExecutor(4) as threads:
        for batch, ids in zip(batches, threads.map(found.of, batches), strict=True):
            assert ids == whole(tokenizer, batch)


def whole(tokenizer: Tokenizer, texts: list[str]) -> list[list[int]]:
    return [one.ids for one in tokenizer.encode_batch_fast(texts)]


class Counted:
    """A tokenizer that counts what it is asked to cut."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.texts = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._tokenizer, name)

    def encode_batch_fast(self, texts: list[str], **options: bool) -> object:
        self.texts += len(texts)
        return self._tokenizer.encode_batch_fast(texts, **options)
