"""Numbers that lead to a person or a machine: telephone, card, account, identity and network numbers.

Those with a check digit count only when it is right (python-stdnum), others only where nothing before them says
that they are a version or the number of an order. They are sought in a text's plain form, in ASCII.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from stdnum import iban, luhn, numdb
from stdnum.cn import ric
from stdnum.exceptions import ValidationError
from stdnum.us import ssn

NUMBERS = {"account", "card", "id", "telephone"}
"""The kinds whose separators mean nothing."""
_Place = tuple[str, int, int]
"""Kind, start and end of a number."""

_ISSUERS = re.compile(
    r"3(?:[47]\d{13}|[0689]\d{12}(?:\d{2,5})?|5\d{14,17})|4\d{15}(?:\d{3})?|[56]\d{15,18}|2[2-7]\d{14}", re.ASCII
)
"""First digits and lengths that card networks give out (ISO/IEC 7812); order numbers and times begin with others."""
_CONTEXT = 40
"""Characters before a value in which words say what it is."""
_REFERENCE = re.compile(
    r"""(?:[#№$€£¥]|\b(?:order|invoice|bill|ticket|case|claim|tracking|parcel|shipment|reference|ref|part|serial|article
    |item|product|sku|ean|upc|gtin|isbn|asin|imei|batch|lot|model|booking|confirmation|transaction|issue|build|commit
    |revision|job|row|line|page|timestamp|po|rma|id|bestellung|auftrag|rechnung|artikel|sendung
    |(?:bestell|auftrags|rechnungs|artikel|sendungs|vorgangs)nummer|commande|facture|référence|colis|pedido|factura
    |referencia)s?\b|订单号?|单号|编号|运单|流水号|发票|工单|票号)
    \W{0,3}(?:\b(?:numbers?|num|no|nr|id|code)\b\W{0,3}){0,2}$""",
    re.IGNORECASE | re.VERBOSE,
)
_VERSION = re.compile(
    r"""(?:\b(?:versions?|ver|v|release|build|firmware|driver|update|upgraded?|patch|revision|section|chapter|clause|rule
    |article|macos|os|os x|ios|ipados|android|windows|linux|kernel|ubuntu|debian|chrome|chromium|firefox|safari|edge
    |opera|office|java|jdk|python|node|php|ruby|openssl|nginx|postgres|mysql|sdk|bios|versión|versão)\b|版本号?|固件|升级)
    (?:\W{1,3}(?:to|from|is|was|auf|von|number|no))?\W{0,3}$|§\W?$|[A-Za-z][/_-]$|[=<>~!]=\s?$""",
    re.IGNORECASE | re.VERBOSE,
)
_DATE = re.compile(r"\+?(?:19|20)\d\d([-./ ]?)(?:0[1-9]|1[0-2])\1(?:0[1-9]|[12]\d|3[01])", re.ASCII)


def _digits(number: str) -> str:
    return re.sub(r"\D", "", number)


def _card(number: str, before: str) -> bool:
    digits = _digits(number)
    return bool(_ISSUERS.fullmatch(digits)) and len(set(digits)) > 1 and luhn.is_valid(digits)


def _chinese_id(number: str, before: str) -> bool:
    """The check of GB 11643 with a date of birth; the county is one of any time, as numbers are given out later."""
    number = re.sub("[ -]", "", number).upper()
    try:
        ric.get_birth_date(number)
    except ValidationError:
        return False
    return number[-1] == ric.calc_check_digit(number) and "county" in numdb.get("cn/loc").info(number[:6])[-1][1]


def _social_security(number: str, before: str) -> bool:
    return ssn.is_valid(number) and not _REFERENCE.search(before)


def _no_reference(number: str, before: str) -> bool:
    return not _REFERENCE.search(before)


def _telephone(number: str, before: str) -> bool:
    return 9 <= len(_digits(number)) <= 15 and not _DATE.fullmatch(number) and not _REFERENCE.search(before)


def _international(number: str, before: str) -> bool:
    digits = _digits(number).removeprefix("00")
    return (digits[0] != "1" or len(digits) == 11) and digits[-6:] != "000000" and _telephone(number, before)


def _ipv4(number: str, before: str) -> bool:
    """Not a version; not what names no machine: loopback, a network mask, a group."""
    try:
        address = ipaddress.IPv4Address(number)
    except ValueError:
        return False
    special = address.is_loopback or address.is_unspecified or address.is_multicast or address.is_reserved
    return not special and not _VERSION.search(before)


def _ipv6(number: str, before: str) -> bool:
    """Of a range in use, which `face::b00c` and names of C++ are not."""
    try:
        address = ipaddress.IPv6Address(number)
    except ValueError:
        return False
    return not (address.is_reserved or address.is_multicast or address.is_loopback or address.is_unspecified)


_ACCOUNT = re.compile(r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?=[ .-]?[A-Z0-9])", re.ASCII | re.IGNORECASE)


@lru_cache(1000)  # two letters each
def _account_of(country: str) -> re.Pattern[str] | None:
    """The form of the country's account numbers (ISO 13616); None where it has none."""
    facts = numdb.get("iban").info(country)[0][1]
    if "bban" not in facts:
        return None
    length = sum(map(int, re.findall(r"\d+", facts["bban"])))
    return re.compile(rf"\w{{4}}(?:[ .-]?[A-Z0-9]){{{length}}}(?![A-Z0-9])", re.ASCII | re.IGNORECASE)


def _accounts(text: str) -> Iterator[_Place]:
    """International account numbers: the country says where one ends, and not the word that comes next."""
    for start in _ACCOUNT.finditer(text):
        pattern = _account_of(start.group()[:2].upper())
        whole = pattern.match(text, start.start()) if pattern else None
        if whole and iban.is_valid(whole.group(), check_country=False):
            yield "account", whole.start(), whole.end()


# Neither a part of a longer number nor of one with a fraction.
_EDGE, _END = r"(?<!\d)(?<!\d[.-])", r"(?!\d)(?!\.\d)"
_FIRST = rf"{_EDGE}(?<!\d )"
_APART = r"( ?[ .-] ?|)"
_DETECTORS: tuple[tuple[str, re.Pattern[str], Callable[[str, str], bool]], ...] = tuple(
    (kind, re.compile(pattern, re.ASCII), check)
    for kind, pattern, check in (
        ("ip", r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)(?!-[A-Za-z])", _ipv4),
        ("ip", r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])", _ipv6),
        (
            "id",
            rf"{_EDGE}[1-9]\d{{5}}[ -]?(?:18|19|20)\d{{2}}[ -]?\d{{4}}[ -]?\d{{3}}[\dXx](?![\dA-Za-z])",
            _chinese_id,
        ),
        ("card", rf"{_EDGE}\d{{4}}{_APART}\d{{4}}\1\d{{4}}\1\d{{4}}(?:\1\d{{3}})?{_END}", _card),
        ("card", rf"{_EDGE}3\d{{3}}{_APART}\d{{6}}\1\d{{4,5}}{_END}", _card),
        ("card", rf"{_EDGE}\d{{8}}(?:[ .-]\d{{8}}|\d{{6,11}}){_END}", _card),
        ("id", rf"{_EDGE}\d{{3}}-\d{{2}}-\d{{4}}(?!-?\d){_END}", _social_security),
        # National insurance numbers of the United Kingdom.
        ("id", r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b", _no_reference),
        ("id", r"\b(?i:[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]\d{6}[A-D])\b", _no_reference),
        ("telephone", rf"(?<![\w+])\+[1-9]\d{{0,2}}(?:[ ./-]?\(?\d{{1,4}}\)?){{2,6}}{_END}", _international),
        ("telephone", rf"{_FIRST}00 ?[1-9]\d{{0,2}}(?:[ ./-]\(?\d{{1,4}}\)?\d{{0,6}}){{2,5}}{_END}", _international),
        ("telephone", rf"{_EDGE}(?:86[ -]?)?1[3-9]\d([ .-]?)\d{{4}}\1\d{{4}}(?![A-Za-z]){_END}", _no_reference),
        # North America: neither area nor exchange begins with 0 or 1.
        (
            "telephone",
            rf"{_EDGE}(?:1[ .-]?)?(?:\([2-9]\d\d\) ?|[2-9]\d\d[ .-])[2-9]\d\d[ .-]\d{{4}}{_END}",
            _no_reference,
        ),
        ("telephone", rf"(?<![A-Za-z\d]){_EDGE}1?[2-9][0-8]\d[2-9]\d{{6}}(?![A-Za-z]){_END}", _no_reference),
        # With the zero before the area.
        ("telephone", rf"{_FIRST}0[1-9](?:[ .-]\d{{2}}){{4}}{_END}", _no_reference),
        (
            "telephone",
            rf"{_FIRST}(?!0\d[ /-](?:19|20)\d\d(?!\d))(?:\(0\d{{1,4}}\)|0[1-9]\d{{0,4}})"
            rf" ?[ /-] ?\d{{3,8}}(?:[ -]\d{{2,5}}){{0,2}}{_END}",
            _telephone,
        ),
        ("telephone", rf"(?<![A-Za-z\d-]){_EDGE}0[1-9]\d{{8,9}}(?![A-Za-z]){_END}", _no_reference),
    )
)


def numbers(text: str) -> Iterator[_Place]:
    """Every number that may be one, the likelier reading first; they may overlap."""
    yield from _accounts(text)
    for kind, pattern, check in _DETECTORS:
        end = 0
        while match := pattern.search(text, end):
            if check(match.group(), text[max(0, match.start() - _CONTEXT) : match.start()]):
                end = match.end()
                yield kind, match.start(), end
            else:
                # A number may begin within what was none.
                end = match.start() + 1
