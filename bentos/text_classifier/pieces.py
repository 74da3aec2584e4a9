"""Sub-word ids of texts; where the pieces of a word do not depend on its neighbours, it is cut once and remembered."""

import json
from collections.abc import Sequence
from typing import Any

from tokenizers import Tokenizer

from bentos.text_classifier.text import UNSPACED, holds_unspaced

MOST_WORDS = 20_000
"""So many words, a few megabytes, are remembered; then anew, while those before still count when they come again."""

LONGEST_WORD = 32
"""Characters of a word that is remembered. A text with a longer one, as those without spaces are, is cut as a whole."""

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
        self._remembers = 0 in marks and _cuts_words_alone(tokenizer)
        if self._remembers:
            self._before = probe.ids[: marks.index(0)]
            self._after = probe.ids[marks.index(0) + marks.count(0) :]
            self._room = max_length - marks.count(1)

    def of(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each of `texts`, which are `clean`."""
        split = [self._words(text) for text in texts]
        known = self._learned({word for words in split if words for word in words})
        whole = [text for text, words in zip(texts, split, strict=True) if words is None]
        cut = iter(self._tokenizer.encode_batch_fast(whole))
        return [
            next(cut).ids
            if words is None
            else self._before + [piece for word in words for piece in known[word]][: self._room] + self._after
            for words in split
        ]

    def _words(self, text: str) -> list[str] | None:
        if not self._remembers or not (text.isascii() or not holds_unspaced(text)):
            return None
        words = text.split(" ")
        return words if max(map(len, words)) <= LONGEST_WORD else None

    def _learned(self, words: set[str]) -> dict[str, list[int]]:
        """Pieces of `words`, and of others. Threads may share them: a dictionary that one has got only grows."""
        if len(self._known) > MOST_WORDS:
            self._older, self._known = self._known, {}
        known, older = self._known, self._older
        missing = words - known.keys()
        again = missing & older.keys()
        known.update((word, older[word]) for word in again)
        new = list(missing - again)
        if new:
            cut = self._tokenizer.encode_batch_fast(new, add_special_tokens=False)
            known.update(zip(new, (one.ids for one in cut), strict=True))
        return known


def _cuts_words_alone(tokenizer: Tokenizer) -> bool:
    """Whether the pieces of a `clean` text are those of its words, one after another."""
    if any(" " in token.content for token in tokenizer.get_added_tokens_decoder().values()):
        return False
    normalizers, splitters = (_parts(part) for part in (tokenizer.normalizer, tokenizer.pre_tokenizer))
    return (
        all(part["type"] in _BY_CHARACTER for part in normalizers)
        and all(part["type"] in _AT_SPACES or _isolates_unspaced(part) for part in splitters)
        and any(part["type"] in _AT_SPACES for part in splitters)
    )


def _parts(component: Any) -> list[dict[str, Any]]:
    """The settings of each part of a normalizer or pre-tokenizer, which may be a sequence of them."""
    if component is None:
        return []
    settings = json.loads(component.__getstate__())
    return settings.get("normalizers") or settings.get("pretokenizers") or [settings]


def _isolates_unspaced(part: dict[str, Any]) -> bool:
    return part["type"] == "Split" and part["pattern"] == {"Regex": f"[{UNSPACED}]"}
