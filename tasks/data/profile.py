"""What the training texts look like: script, language, lengths."""

import math
import re
import unicodedata
from collections import Counter
from functools import lru_cache

import numpy as np

from bentos.text_classifier.text import UNSPACED, fold, words
from tasks.base.manifests import Profile
from tasks.data.rows import Rows

_SAMPLE = 20_000
_QUANTILES = (0.5, 0.95, 0.99, 1.0)
_UNSPACED_CHARACTER = re.compile(f"[{UNSPACED}]")
_WORD_PIECE = 6
"""Characters of an average sub-word, rounded up; rare words break into shorter ones, frequent ones not at all."""
_SHORTEST, _LONGEST = 16, 512
_FUNCTION_WORDS = frozenset(
    words(
        "the a an and or but of to in on at for from with by is are was were be been it its this that these those i "
        "you he she we they my your his her our their not no do does did have has had will would can could what how "
        "when where who why which if as so than there"
    )
)
_ENGLISH_SHARE = 0.12
"""Running English prose has 35 to 50 % function words, headlines about 15 %; other Latin-script languages below 8 %."""


def profile_of(rows: Rows, class_sizes: list[int]) -> Profile:
    """The profile of a part, from its first 20,000 rows, which are a fair sample."""
    texts = _sample(rows)
    folded = [fold(text) for text in texts]
    tokens = [words(text) for text in folded]
    scripts = script_shares(folded)
    counts = [len(entry) for entry in tokens]
    return Profile(
        scripts=scripts,
        language=language_of(scripts, tokens),
        characters=_quantiles([len(text) for text in texts]),
        tokens=_quantiles(counts),
        total_tokens=round(sum(counts) * len(rows) / max(1, len(texts))),
        imbalance=max(class_sizes) / max(1, min(class_sizes)),
    )


def length_for(rows: Rows) -> int:
    """Sub-word tokens that hold 99.5 % of the texts whole, marks at both ends included; 16 to 512."""
    lengths = [sum(_pieces(word) for word in words(fold(text))) + 2 for text in _sample(rows)]
    return int(np.clip(math.ceil(np.quantile(lengths, 0.995)), _SHORTEST, _LONGEST))


def script_shares(texts: list[str]) -> dict[str, float]:
    """Share of letters by Unicode script, the largest first; below one in a thousand is left out."""
    letters = Counter("".join(texts))
    shares: Counter[str] = Counter()
    for letter, count in letters.items():
        if letter.isalpha():
            shares[script_of(letter)] += count
    total = shares.total() or 1
    return {name: round(count / total, 4) for name, count in shares.most_common() if count / total >= 0.001}


@lru_cache(maxsize=65_536)
def script_of(letter: str) -> str:
    """The script of a letter, as its Unicode name begins: Latin, Han, Hiragana, Cyrillic, Arabic …"""
    first = unicodedata.name(letter, "OTHER").split()[0].split("-")[0]
    return "Han" if first == "CJK" else first.capitalize()


def language_of(scripts: dict[str, float], tokens: list[list[str]]) -> str:
    """`en` where Latin script rules and function words are as frequent as English has them, else the main script."""
    main = next(iter(scripts), "none")
    if main != "Latin":
        return {"Han": "ja" if scripts.get("Hiragana", 0) > 0.05 else "zh", "Hiragana": "ja", "Hangul": "ko",
                "Thai": "th"}.get(main, main)  # fmt: skip
    known = sum(word in _FUNCTION_WORDS for entry in tokens for word in entry)
    letters = sum(word[0].isalpha() for entry in tokens for word in entry)
    return "en" if known > _ENGLISH_SHARE * letters else main


def _sample(rows: Rows) -> list[str]:
    return next(rows.batches(_SAMPLE))["texts"]


def _pieces(word: str) -> int:
    return math.ceil(len(word) / _WORD_PIECE)


def _quantiles(values: list[int]) -> dict[str, float]:
    return {str(share): float(np.quantile(values, share)) for share in _QUANTILES}
