"""Which encoding a text file has: by its mark, else UTF-8, else what its letters say.

A reading is judged by a unigram model of the languages that charset-normalizer knows: the probability of the
characters that the foreign lines have in it. Windows-1252 and GB18030 are usual, so another one must be far likelier.
"""

import codecs
import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

from charset_normalizer.constant import FREQUENCIES

from tasks.base.errors import InputError
from tasks.data.sources.opening import File, open_bytes

_CHUNK = 1 << 20
_SAMPLE = 1 << 16
_SCORED = 8_000
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FOREIGN_BYTES = re.compile("[\udc80-\udcff]+")
_USUAL = ("cp1252", "gb18030")
_OTHERS = (
    "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874", "koi8_r", "koi8_u",
    "cp866", "iso8859_2", "iso8859_5", "iso8859_7", "iso8859_15", "cp437", "cp850", "cp852", "mac_roman",
    "mac_cyrillic", "big5", "shift_jis", "euc_jp", "cp949",
)  # fmt: skip
_MUCH = 12.0
"""Another encoding must be e to this power times as likely as a usual one."""
_LEAST_A_BYTE = {"cp1252": -8.0, **dict.fromkeys(("gb18030", "big5", "shift_jis", "euc_jp", "cp949"), -5.5)}
_LEAST_OF_OTHERS = -6.5
"""Log-probability, by byte that is not ASCII, below which a reading is no language. English has accents in borrowed
words alone; two bytes are one character of the large sets."""
_FEW_LINES = 0.1
"""Of the lines: so many with foreign bytes may be damaged, where no reading makes sense of them."""

_WESTERN = "éèàùâêîôûçëïüœæäößñáíóúåøãõìòý"
# What the 26 most frequent letters of a language leave out.
_MORE_LETTERS = {
    "French": "çùâêîôûëïüœæ", "Spanish": "éúñü", "Portuguese": "óâõêôàúü", "Italian": "ùìé", "German": "ß",
    "Polish": "żśćńź", "Czech": "čšžýůúňťďó", "Slovak": "šžúäľťňôďóĺŕ", "Hungarian": "őűúüí", "Turkish": "öâîû",
    "Romanian": "şţ", "Lithuanian": "ūę", "Estonian": "šž", "Croatian": "đ", "Russian": "юэщфшъё",
    "Ukrainian": "щшюєжфґ", "Bulgarian": "шщюфь", "Serbian": "љњћџђшжчхцгбзф", "Greek": "βγδφξψώύϋ",
    "Vietnamese": "ạảấầẩẫậắằặẹẻẽềểễệỉịọỏốồổỗộớờợụủứừửữựơâêô", "Arabic": "ؤئآذضظغثخزج", "Thai": "ัี่้ิืุู์ำะึ็ไใเแโๆฉซฟฝธณญฐ",
}  # fmt: skip
# Languages of Windows-1252 that charset-normalizer has no frequencies of.
_OWN = {"Icelandic": "arniestulðgmkfvhoáíþbdjöóypúæéýxwzcq", "Catalan": "eaisrnltoducmpvbgfqàéhxjíyèóòúçïükwz"}
_PUNCTUATION = frozenset("“”‘’‚„–—…«»€£¥°§©®™²³½¼·¿¡•\u00a0，。！？、：；《》（）「」『』【】\u3000・ー～")


# Log-probabilities of what is no letter of a language's own.
_ASCII, _MARK, _USUAL_HANGUL, _FOREIGN_LETTER, _USUAL_HAN = -4.5, -6.0, -7.0, -6.5, -8.8
_UNUSUAL, _NO_CHARACTER = -13.0, -30.0
# A capital after a small letter is one of another encoding: Windows-1251 read as KOI8-R swaps them.
_ODD_CAPITAL = re.compile("(?<=[a-zß-öø-ÿα-ώа-яё])[À-ÖØ-ÞΑ-ΩА-ЯЁ]")
_SIMPLE_ENDS = frozenset((0, 1, 4, 8, 16, 17, 19, 20, 21))
_ODD_CAPITAL_COST = -4.0


@dataclass(frozen=True, eq=False)
class _Language:
    """A unigram model: log-probabilities of small letters."""

    name: str
    letters: dict[str, float]
    latin: bool


@cache
def _languages() -> list[_Language]:
    found: dict[str, _Language] = {}
    for listed, letters in {**FREQUENCIES, **_OWN}.items():
        # Japanese stands there three times: Han, katakana and hiragana.
        name = listed.rstrip("—")
        ranked = dict.fromkeys([*letters, *_MORE_LETTERS.get(name, "")])
        # The weight of a letter falls about exponentially with its rank. Of Chinese and Japanese only the most used
        # characters stand there, which are alike.
        alike = len(letters) > 60
        weights = [1.0 if alike else math.exp(-0.13 * rank) for rank in range(len(ranked))]
        scale = (0.35 if alike else 1.0) / sum(weights)
        known = {letter: math.log(scale * weight) for letter, weight in zip(ranked, weights, strict=True)}
        earlier = found[name].letters if name in found else {}
        found[name] = _Language(name, {**known, **earlier}, letters[0].isascii())
    return list(found.values())


def detect_encoding(file: File, asked: str | None = None) -> tuple[str, str | None]:
    """(encoding, note) of a text file: what was `asked` for, by its mark, UTF-8, else the likeliest.

    The whole file is read once, in pieces: what is not UTF-8 may stand far behind the beginning. A file whose
    characters beyond ASCII are mostly UTF-8, or of which few lines hold bytes that make no sense, is UTF-8; those
    bytes then cost their rows only.

    Raises:
        InputError: there is no such encoding, or it cannot be told.
    """
    if asked is not None:
        return known_encoding(asked), None
    with open_bytes(file) as stream:
        start = stream.read(_SAMPLE)
        for mark, encoding in _MARKS:
            if start.startswith(mark):
                return encoding, None
        if wide := _unmarked_utf16(start):
            return wide, f"{file.name}: read as {wide.upper()}, assumed from its zero bytes"
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        foreign = valid = lines = first = 0
        samples: list[str] = []
        sampled = 0
        chunk = start
        while chunk:
            text = decoder.decode(chunk)
            if not text.isascii() and (bad := sum(map(len, _FOREIGN_BYTES.findall(text)))):
                found = [line for line in text.split("\n") if _FOREIGN_BYTES.search(line)]
                first = first or lines + 1 + text.count("\n", 0, text.index(found[0]))
                foreign += bad
                samples += found if sampled < 4 * _SAMPLE else []
                sampled += sum(map(len, found))
                valid -= bad
            valid += 0 if text.isascii() else len(text) - len(text.encode("ascii", "ignore"))
            lines += text.count("\n")
            if sampled >= 4 * _SAMPLE and foreign > valid:
                break
            chunk = stream.read(_CHUNK)
    if foreign <= valid:
        return "utf-8", None
    sample = "\n".join(samples).encode("utf-8", "surrogateescape")
    likeliest = _likeliest(sample, start[:_SCORED].decode("ascii", "ignore"))
    if likeliest is not None:
        how = f"assumed since line {first:,} is not UTF-8; another one is named by --encoding"
        return likeliest, f"{file.name}: read as {likeliest.upper()}, {how}"
    if len(samples) <= max(1.0, _FEW_LINES * lines):
        return "utf-8", None
    raise InputError(
        f"{file.name}: its encoding cannot be told; line {first:,} is the first that is not UTF-8. "
        "Name it with --encoding, such as cp1250, or save the file as UTF-8."
    )


def known_encoding(name: str) -> str:
    """Python's name of an encoding.

    Raises:
        InputError: there is none of this name.
    """
    try:
        "".encode(name)
        return codecs.lookup(name).name
    except (LookupError, UnicodeError, ValueError) as error:
        raise InputError(f"--encoding: {name!r} is no encoding; give one such as utf-8, cp1252 or gb18030.") from error


def _unmarked_utf16(start: bytes) -> str | None:
    """UTF-16 without its mark: line ends of two bytes, and zeros on one side of the pairs only."""
    even, odd = start[0::2].count(0), start[1::2].count(0)
    if b"\n\0" in start and odd > len(start) / 200 and even <= odd / 20:
        return "utf-16-le"
    if b"\0\n" in start and even > len(start) / 200 and odd <= even / 20:
        return "utf-16-be"
    return None


def _likeliest(sample: bytes, context: str) -> str | None:
    """The encoding that makes the most likely text of the sample; None when none makes a text of it.

    Args:
        context: more of the file, which tells its language.
    """
    sample = sample[: _SCORED if len(sample) <= _SCORED else sample.rindex(b"\n", 0, _SCORED) + 1 or _SCORED]
    scores = {name: _score(sample, name, context) for name in (*_USUAL, *_OTHERS)}
    best = max(scores, key=lambda name: scores[name][0] + _MUCH * (name in _USUAL))
    return best if scores[best][1] >= _LEAST_A_BYTE.get(best, _LEAST_OF_OTHERS) else None


def _score(sample: bytes, encoding: str, context: str) -> tuple[float, float]:
    """(log-probability of the sample, the same by byte for what is not ASCII) in the language that fits best."""
    text = sample.decode(encoding, "replace")
    # No more of it than of the sample: lines in Chinese may stand among thousands in English.
    counts, all_counts = Counter(text), Counter(text + context[: len(text)])
    language = max(
        _languages(),
        key=lambda one: sum(count * _log_probability(letter, one) for letter, count in all_counts.items()),
    )
    by_letter = {letter: count * _log_probability(letter, language) for letter, count in counts.items()}
    odd = _ODD_CAPITAL_COST * len(_ODD_CAPITAL.findall(text))
    beyond = odd + sum(value for letter, value in by_letter.items() if letter > "\x7f")
    return odd + sum(by_letter.values()), beyond / max(1, sum(byte > 127 for byte in sample))


@cache
def _log_probability(letter: str, language: _Language) -> float:
    small = letter.lower()
    if small in language.letters:
        return language.letters[small] - (small != letter)
    if letter < "\x80":
        return _ASCII
    if letter in _PUNCTUATION:
        return _MARK
    if letter == "\ufffd":
        return _NO_CHARACTER
    if language.name == "Korean" and "가" <= letter <= "힣":
        return _USUAL_HANGUL if _is_simple(letter) else _UNUSUAL
    if language.name == "Chinese" and (0xB0 <= _row(letter, "gb2312") < 0xD8 or 0xA4 <= _row(letter, "big5") < 0xC9):
        return _USUAL_HAN
    if language.name == "Japanese" and 0x88 <= _row(letter, "shift_jis") < 0x98:
        return _USUAL_HAN
    if language.latin and small in _WESTERN:
        return _FOREIGN_LETTER - (small != letter)
    return _UNUSUAL


def _is_simple(syllable: str) -> bool:
    """Whether a Korean syllable is of single sounds, as nearly all in texts are: no double consonant, no rare vowel."""
    initial, rest = divmod(ord(syllable) - ord("가"), 21 * 28)
    medial, final = divmod(rest, 28)
    return initial not in (1, 4, 8, 10, 13) and medial not in (3, 7, 10, 15, 17, 19) and final in _SIMPLE_ENDS


def _row(letter: str, encoding: str) -> int:
    """The first byte of a letter there; 0 where it is not there. Common letters stand in the first rows."""
    try:
        return letter.encode(encoding)[0]
    except UnicodeEncodeError:
        return 0
