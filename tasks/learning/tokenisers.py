"""Training a sub-word tokeniser on the texts at hand."""

import re
from collections.abc import Iterable
from itertools import islice

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from bentos.text_classifier.encoding import TokenEncoder
from bentos.text_classifier.manifest import TokenSettings
from bentos.text_classifier.text import UNSPACED, clean
from tasks.base.manifests import content_of

PAD, UNKNOWN = "[PAD]", "[UNK]"
INSIDE = "##"
# More texts than these hardly change a vocabulary of some ten thousand pieces.
MOST_TEXTS = 300_000


def fit_tokeniser(
    texts: Iterable[str], *, size: int, max_length: int, min_frequency: int = 2, cased: bool = False
) -> TokenEncoder:
    """A WordPiece of at most `size` pieces, from the first `MOST_TEXTS` texts; the same for the same texts.

    Width is folded and, unless `cased`, case; accents stay. A character of a script without spaces is a word of its
    own, as for the n-grams; otherwise a Thai sentence would be one unknown word. The padding id is 0
    and no marks stand around a text, so that an empty one has no tokens.
    """
    cleaned = [clean(text) for text in islice(texts, MOST_TEXTS)]
    learner = _tokeniser(models.WordPiece(unk_token=UNKNOWN), cased)
    letters = set("".join(map(learner.normalizer.normalize_str, cleaned)))
    inside = sorted(INSIDE + letter for letter in letters if not re.match(rf"[\s{UNSPACED}]", letter))
    # The trainer numbers the pieces inside words in the order of a hash map and breaks ties by these
    # numbers (huggingface/tokenizers#1794); declared as special, they are numbered in our order.
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=min_frequency, special_tokens=[PAD, UNKNOWN, *inside], show_progress=False
    )
    learner.train_from_iterator(cleaned, trainer)
    # Taken over into a tokeniser without special tokens: "[PAD]" in a text is a word like any other.
    model = models.WordPiece(learner.get_vocab(), unk_token=UNKNOWN, max_input_chars_per_word=50)
    tokeniser = _tokeniser(model, cased)
    name = f"tokens_{content_of(tokeniser.to_str(), max_length)[:8]}"
    return TokenEncoder(TokenSettings(name, f"{name}.json", max_length, pad_id=0), tokeniser)


def _tokeniser(model: models.WordPiece, cased: bool) -> Tokenizer:
    tokeniser = Tokenizer(model)
    tokeniser.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.BertNormalizer(strip_accents=False, lowercase=not cased)]
    )
    tokeniser.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(f"[{UNSPACED}]"), "isolated"), pre_tokenizers.BertPreTokenizer()]
    )
    return tokeniser
