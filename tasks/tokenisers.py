"""Training a sub-word tokeniser on the texts at hand."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from bentos.text_classifier.encoding import TokenEncoder
from bentos.text_classifier.manifest import TokenSettings
from bentos.text_classifier.text import UNSPACED, clean
from tasks.manifests import content_of

PAD, UNKNOWN = "[PAD]", "[UNK]"


def fit_tokeniser(texts: Iterable[str], *, size: int, max_length: int, min_frequency: int = 2) -> TokenEncoder:
    """A WordPiece of at most `size` pieces, read once from `texts`.

    Case and width are folded, accents stay. A character of a script without spaces is a word of its
    own, as for the n-grams; otherwise a Thai sentence would be one unknown word. The padding id is 0
    and no marks stand around a text, so that an empty one has no tokens.
    """
    tokeniser = Tokenizer(models.WordPiece(unk_token=UNKNOWN, max_input_chars_per_word=50))
    tokeniser.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.BertNormalizer(strip_accents=False, lowercase=True)]
    )
    tokeniser.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(f"[{UNSPACED}]"), "isolated"), pre_tokenizers.BertPreTokenizer()]
    )
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=min_frequency, special_tokens=[PAD, UNKNOWN], show_progress=False
    )
    tokeniser.train_from_iterator(map(clean, texts), trainer)
    name = f"tokens_{content_of(tokeniser.to_str(), max_length)[:8]}"
    return TokenEncoder(TokenSettings(name, f"{name}.json", max_length, pad_id=0), tokeniser)
