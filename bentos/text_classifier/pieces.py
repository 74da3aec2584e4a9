"""Sub-word ids of texts; where words are cut alike in every text, each is cut once and remembered."""

import json
from collections.abc import Sequence
from itertools import chain
from typing import Any

from tokenizers import Tokenizer

from bentos.text_classifier.text import UNSPACED, holds_unspaced

MOST_WORDS = 20_000
"""After so many words, a few megabytes, it begins anew; those before count, too, when they come again."""

LONGEST_WORD = 32
"""Characters of a word that is remembered. A text with a longer one, as those without spaces are, is cut as a whole."""

MOST_NEW = 256
"""Words of a call that may be learned, and at most a quarter of its words: one alone takes three times as long as in a
text, so that texts of unseen words are better cut whole."""

_BY_CHARACTER = ("BertNormalizer", "NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")
_AT_SPACES = ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")


class Pieces:
    """Ids as `tokenizer` gives them, marks included; it cuts at `max_length` and must not be changed afterwards."""

    def __init__(self, tokenizer: Tokenizer, max_length: int) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, list[int]] = {}
        self._older: dict[str, list[int]] = {}
        probe = tokenizer.encode("a")
        marks = probe.special_tokens_mask
        self._room = max_length - marks.count(1)
        # More than one piece that is no mark: the tokenizer repeats a text.
        self._remembers = marks.count(0) == 1 and self._room >= 0 and _cuts_words_alone(tokenizer)
        if self._remembers:
            self._before, self._after = probe.ids[: marks.index(0)], probe.ids[marks.index(0) + 1 :]

    def of(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each of `texts`, which are `clean`."""
        split = [self._words(text) for text in texts]
        known = self._with_new(list(chain.from_iterable(split)))
        rows = [self._row(words, known) for words in split]
        left = [text for text, row in zip(texts, rows, strict=True) if not row]
        whole = iter(self._tokenizer.encode_batch_fast(left))
        return [row or next(whole).ids for row in rows]

    def _words(self, text: str) -> list[str]:
        """The words of a text that may be cut word by word; of another one none."""
        if not self._remembers or (not text.isascii() and holds_unspaced(text)):
            return []
        words = text.split(" ")
        return words if max(map(len, words)) <= LONGEST_WORD else []

    def _row(self, words: list[str], known: dict[str, list[int]]) -> list[int]:
        """The ids of a text of these words; none, where one is not known."""
        if not words:
            return []
        try:
            pieces = [piece for word in words for piece in known[word]]
        except KeyError:
            return []
        return self._before + pieces[: self._room] + self._after

    def _with_new(self, words: list[str]) -> dict[str, list[int]]:
        """What is known, with some of the new `words`. Threads may share it: what one has got only grows."""
        if len(self._known) > MOST_WORDS:
            self._older, self._known = self._known, {}
        known, older = self._known, self._older
        missing = dict.fromkeys(word for word in words if word not in known)
        known.update((word, older[word]) for word in missing if word in older)
        new = [word for word in missing if word not in older][: min(MOST_NEW, 1 + len(words) // 4)]
        if new:
            cut = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
            known.update(zip(new, (one.ids for one in cut), strict=True))
        return known


def _cuts_words_alone(tokenizer: Tokenizer) -> bool:
    """Whether the pieces of a `clean` text are always those of its words, one after another."""
    normalize = tokenizer.normalizer.normalize_str if tokenizer.normalizer else str
    added = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    if any(one.split() != [one] for one in chain(added, map(normalize, added))):
        return False
    normalizers, splitters = (_parts(part) for part in (tokenizer.normalizer, tokenizer.pre_tokenizer))
    return (
        getattr(tokenizer.model, "dropout", None) is None
        and all(part["type"] in _BY_CHARACTER for part in normalizers)
        and all(part["type"] in _AT_SPACES or _splits_at_unspaced(part) for part in splitters)
        and any(part["type"] in _AT_SPACES for part in splitters)
    )


def _parts(component: Any) -> list[dict[str, Any]]:
    """The settings of each part of a normalizer or pre-tokenizer, which may be a sequence of them."""
    if component is None:
        return []
    settings = json.loads(component.__getstate__())
    return settings.get("normalizers") or settings.get("pretokenizers") or [settings]


def _splits_at_unspaced(part: dict[str, Any]) -> bool:
    return part["type"] == "Split" and part["pattern"] == {"Regex": f"[{UNSPACED}]"}
