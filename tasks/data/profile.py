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
_LANGUAGES = {"Han": "zh", "Hiragana": "ja", "Hangul": "ko", "Thai": "th"}
_ENGLISH = frozenset(
    words(
        "the a an and or but of to in on at for from with by is are was were be been it its this that these those i "
        "you he she we they my your his her our their not no do does did have has had will would can could what how "
        "when where who why which if as so than there"
    )
)
# Nothing that is also a word, a name or a letter in English texts.
_NOT_ENGLISH = frozenset(
    words(
        "der das ist nicht und ein eine einen mit für auf ich sie wir aber auch sehr wenn "
        "le la les une des du est et que qui je pas pour dans avec sur très ce il elle nous vous "
        "el las una por para con como muy pero lo del su mi sin más "
        "che è non per della sono questo molto não uma um muito com mais foi "
        "het een van niet dat ik op zijn voor met ook maar wel "
        "och att det som jag inte på är av för den til ikke jeg med af "
        "nie się jest na że bir ve bu için çok yang dan ini itu dengan untuk tidak"
    )
)
_ENGLISH_SHARE = 0.12
"""Running English prose has 35 to 50 % function words, headlines about 15 %; other Latin-script languages below 8 %."""
_SECOND_LANGUAGE = 0.05
"""Share of the texts above which a further language counts."""


def profile_of(rows: Rows, class_sizes: list[int]) -> Profile:
    """The profile of a part, from its first 20,000 rows, which are a fair sample."""
    texts = _sample(rows)
    folded = [fold(text) for text in texts]
    tokens = [words(text) for text in folded]
    languages = language_shares(tokens)
    counts = [len(entry) for entry in tokens]
    return Profile(
        scripts=script_shares(tokens),
        languages=languages,
        language=language_of(languages),
        characters=_quantiles([len(text) for text in texts]),
        tokens=_quantiles(counts),
        total_tokens=round(sum(counts) * len(rows) / max(1, len(texts))),
        imbalance=max(class_sizes) / max(1, min(class_sizes)),
    )


def length_for(rows: Rows) -> int:
    """Sub-word tokens that hold 99.5 % of the texts whole, marks at both ends included; 16 to 512."""
    lengths = [sum(_pieces(word) for word in words(fold(text))) + 2 for text in _sample(rows)]
    return int(np.clip(math.ceil(np.quantile(lengths, 0.995)), _SHORTEST, _LONGEST))


def script_shares(tokens: list[list[str]]) -> dict[str, float]:
    """Share of texts by the Unicode script of most of their words, the largest first; of all that have letters."""
    return _shares(Counter(script for entry in tokens if (script := script_of_words(entry))))


def script_of_words(tokens: list[str]) -> str | None:
    """The script of most words of one text; None when it has none with a letter. A text with kana is Japanese, which
    is Hiragana here."""
    scripts = Counter(script_of(word[0]) for word in tokens if word[0].isalpha())
    kana = scripts.pop("Katakana", 0) + scripts.get("Hiragana", 0)
    if kana:
        scripts["Hiragana"] = kana + scripts.pop("Han", 0)
    return scripts.most_common(1)[0][0] if scripts else None


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = counts.total()
    return {name: round(count / total, 4) for name, count in counts.most_common() if count / total >= 0.001}


@lru_cache(maxsize=65_536)
def script_of(letter: str) -> str:
    """The script of a letter, as its Unicode name begins: Latin, Han, Hiragana, Cyrillic, Arabic …"""
    first = unicodedata.name(letter, "OTHER").split()[0].split("-")[0]
    return "Han" if first == "CJK" else first.capitalize()


def language_shares(tokens: list[list[str]]) -> dict[str, float]:
    """Share of texts by language, the largest first: `en`, `zh`, `ja`, `ko`, `th`, else the script's name.

    Texts in Latin script are English where function words are as frequent as English has them, but for those in which
    words of other languages outnumber the English ones; texts that say nothing of either are like the others.
    """
    scripts = [script_of_words(entry) for entry in tokens]
    counts = Counter(_LANGUAGES.get(script, script) for script in scripts if script and script != "Latin")
    if counts["ja"] > counts["zh"]:
        # A short Japanese text may be of Han characters alone.
        counts["ja"] += counts.pop("zh", 0)
    latin = [entry for entry, script in zip(tokens, scripts, strict=True) if script == "Latin"]
    if latin:
        english = _english_share(latin)
        counts.update({"en": english * len(latin), "Latin": (1 - english) * len(latin)})
    return _shares(counts) if counts.total() else {}


def _english_share(tokens: list[list[str]]) -> float:
    """Share of English ones among texts in Latin script."""
    known = sum(word in _ENGLISH for entry in tokens for word in entry)
    if known <= _ENGLISH_SHARE * sum(word[0].isalpha() for entry in tokens for word in entry):
        return 0.0
    found = [_is_english(entry) for entry in tokens]
    return found.count(True) / max(1, len(found) - found.count(None))


def _is_english(tokens: list[str]) -> bool | None:
    """Whether more words speak for English than against it; None when nothing does."""
    english = sum(word in _ENGLISH for word in tokens)
    other = sum(word in _NOT_ENGLISH or (word[0].isalpha() and not word.isascii()) for word in tokens)
    return None if english == other else english > other


def language_of(languages: dict[str, float]) -> str:
    """The language of the texts; several, joined by `+`, where a further one has more than a twentieth of them."""
    main = [name for place, (name, share) in enumerate(languages.items()) if not place or share > _SECOND_LANGUAGE]
    return "+".join(main) or "none"


def _sample(rows: Rows) -> list[str]:
    return next(rows.batches(_SAMPLE))["texts"]


def _pieces(word: str) -> int:
    return math.ceil(len(word) / _WORD_PIECE)


def _quantiles(values: list[int]) -> dict[str, float]:
    return {str(share): float(np.quantile(values, share)) for share in _QUANTILES}
