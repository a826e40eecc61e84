"""What a name, address, date or number looks like in running text, and what only looks so.

Two kinds: `CERTAIN` can be nothing else and is taken out of every text; the others are taken out of descriptors and
prose, unless the words or numbers in them are clinical ones (`MR BRAIN` is no Mr Brain, `5 mm axial CT` no Court).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from claimed_med.dicom.vocabulary import clinical_words

if TYPE_CHECKING:
    from collections.abc import Iterator

EDGE, EDGE_AFTER = r"(?<![^\W_])", r"(?![^\W_])"
_LETTERS = r"[^\W\d_]"
_NAME = rf"{_LETTERS}[\w'\u2019-]*"
_MONTHS = "|".join(
    """
    jan feb mar apr may jun jul aug sep oct nov dec janv fev fév avr mai juin juil août okt dez mär mrz déc
    enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre
    gennaio febbraio aprile maggio giugno luglio settembre ottobre novembre dicembre
    janeiro fevereiro março maio junho julho setembro outubro novembro dezembro maart mei
    янв фев мар апр мая июн июл авг сен окт ноя дек
    ιαν φεβ μαρ απρ μαϊ ιου αυγ σεπ οκτ νοε δεκ
    """.split()  # noqa: RUF001 - months in Russian and Greek
)
_STREET = (
    "street|road|rd|avenue|ave|lane|ln|drive|terrace|boulevard|blvd|crescent|gardens|parkway|highway"
    r"|\w*(?:stra\u00dfe|strasse|gasse|allee|platz|weg)|rue|straat|laan"
)
_MAYBE_STREET = "st|dr|ct|pl|court|place|square|way|close|grove|park|hill|row|walk|circle|trail|str"
_STREET_FIRST = "rue|via|calle|avenida|avda|rua|plaza|piazza|ulica|ul|ulitsa|\u0443\u043b|\u03bf\u03b4\u03cc\u03c2"
_TITLES = "prof|professor|doctor|mrs|ms|miss|herr|herrn|frau|mme|mlle|monsieur|madame|sir|se\u00f1ora?|sra|signora?"
_MAYBE_TITLES = "dr|mr|md|sr"
_TOWN = rf"(?:,\s*{_NAME}(?:\s+(?-i:[A-Z][a-z]+))?)?"
_TIME = r"(?:[t ]?\d\d:?\d\d(?::?\d\d)?)?"
_LABELS = (
    r"mrn|ssn|nhs|nin|bsn|cpr|dob|pid|patid|acc(?:ession)?|(?:pat(?:ient)?|hosp(?:ital)?|case|chart|record|file|order)"
    r"\s*(?:id|no|nr|number)|fallnr|pat-?nr|matricule|identifiant|historia"
)
_CALLS = (
    r"tel|telephone|t\u00e9l|telefon|tel\u00e9fono|phone|fax|mobile|cell|pager|bleep|ext|handy|portable"
    r"|\u96fb\u8a71|\u7535\u8bdd"
)
_WHO = r"name|patient|pt|nom|naam|nombre|paciente|nome|paziente|imi\u0119|\u60a3\u8005|\u6c0f\u540d|\u59d3\u540d"
_GAP = r"(?:[ -]|\s+de\s+)"
_YEAR = r"(?:19\d\d|20[0-4]\d)"

CERTAIN = tuple(
    re.compile(one, re.IGNORECASE)
    for one in (
        r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",  # e-mail
        r"(?<![\w.])(?:1\.[23]|2\.(?:16|25))(?:\.\d+){3,}(?![\w.])",  # UID
        r"\+\d{1,3}(?:[ .()-]{0,2}\d{2,4}){2,5}",  # phone
        r"(?:\+\d{1,3}[ .-]?)?\(\d{2,5}\)[ .-]?\d{2,4}(?:[ .-]?\d{2,4}){1,3}",
        rf"{EDGE}\d{{3}}-\d\d-\d{{4}}{EDGE_AFTER}",  # 585-16-1510
        rf"{EDGE}(?:{_LABELS})\s*[:#=]\s*[\w./-]*\d[\w./-]*",  # MRN: 12/345
    )
)
LIKELY = tuple(
    re.compile(one, re.IGNORECASE)
    for one in (
        r"\b(?:https?://|ftp://|file://|www\.)\S+",
        rf"{EDGE}(?:{_TITLES})\.?\s+{_NAME}(?:\s+{_NAME})?",
        rf"{EDGE}(?:(?-i:Dr|Mr)|(?:{_MAYBE_TITLES})\.)\s+{_NAME}(?:\s+{_NAME})?",
        rf"{EDGE}\d{{1,5}}[a-z]?,?\s+(?:{_NAME}[.]?\s+){{0,3}}(?:{_STREET}){EDGE_AFTER}\.?{_TOWN}",
        rf"{EDGE}(?:{_NAME}\s+){{0,2}}{_LETTERS}*(?:stra\u00dfe|strasse|gasse|allee|platz|weg)\s+\d{{1,4}}[a-z]?{_TOWN}",
        rf"{EDGE}(?:\d{{1,4}},?\s+)?(?:{_STREET_FIRST})\.?\s+(?:{_NAME}\.?\s+){{0,3}}{_NAME}(?:,?\s+\d{{1,4}}\b)?{_TOWN}",
        rf"{EDGE}p\.?\s?o\.?\s?box\s+\d+",
        rf"{EDGE}{_YEAR}[-./ ]?(?:0[1-9]|1[0-2])[-./ ]?(?:0[1-9]|[12]\d|3[01]){EDGE_AFTER}{_TIME}",
        rf"{EDGE}{_YEAR}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{{4,6}}{EDGE_AFTER}",
        rf"{EDGE}\d{{1,2}}([-./])\d{{1,2}}\1{_YEAR}{EDGE_AFTER}",
        rf"{EDGE}(?:0?[1-9]|[12]\d|3[01])([-./])(?:0?[1-9]|[12]\d|3[01])\1\d\d{EDGE_AFTER}",
        rf"{EDGE}\d{{1,2}}(?:st|nd|rd|th|\.)?{_GAP}(?:{_MONTHS}){_LETTERS}*\.?,?{_GAP}?(?:19|20)?\d\d{EDGE_AFTER}",
        rf"{EDGE}(?:{_MONTHS}){_LETTERS}*\.?[ -]\d{{1,2}}(?:st|nd|rd|th)?,?[ -](?:19|20)\d\d{EDGE_AFTER}",
        rf"{EDGE}(?:{_MONTHS}){_LETTERS}*\.?[ -](?:19|20)\d\d{EDGE_AFTER}",
        rf"{EDGE}\d{{1,2}}-?(?:{_MONTHS})-?(?:19|20)?\d\d{EDGE_AFTER}",  # 12MAR2011
        r"(?:\d{2,4}|[\u4e00-\u9fff]{2}\d{1,2})\s?\u5e74\s?\d{1,2}\s?\u6708(?:\s?\d{1,2}\s?\u65e5)?",
        r"\d{4}\s?\ub144\s?\d{1,2}\s?\uc6d4(?:\s?\d{1,2}\s?\uc77c)?",
        rf"{EDGE}\d{{2,4}}(?:([-.])\d{{2,4}})(?:\1\d{{2,4}}){{1,3}}{EDGE_AFTER}",  # 020-7946-0958
        rf"{EDGE}0\d{{1,4}} \d{{2,4}}(?: \d{{2,4}}){{1,3}}{EDGE_AFTER}",
        rf"{EDGE}\d{{3,4}}(?: \d{{3,4}}){{2}}{EDGE_AFTER}",
        rf"{EDGE}\d{{3,4}}-\d{{4}}{EDGE_AFTER}",
        rf"{EDGE}(?:{_CALLS})\W{{0,3}}\d[\d ./()-]{{3,}}",
        rf"{EDGE}[a-z]{{1,6}}[-#:_/]?\d{{5,}}[a-z0-9]*{EDGE_AFTER}",  # MRN4178601
        rf"{EDGE}[a-z]{{0,6}}[-#/]?{_YEAR}[-/]\d{{3,}}{EDGE_AFTER}",  # H-2020-00123
        rf"{EDGE}\d{{6,}}[a-z]{{0,3}}{EDGE_AFTER}",
        rf"{EDGE}\d{{1,3}}[-/]\d{{5,}}{EDGE_AFTER}",
        rf"{EDGE}(?:{_LABELS})\.?\s*[:#=]?\s*[\w./-]*\d{{2,}}[\w./-]*",
        rf"{EDGE}(?:dob|born|mrn|ssn|nhs)\s*[:#=]?(?=\s|$)",
        rf"{EDGE}[A-Z]{{2}}\s\d{{5}}(?:-\d{{4}})?{EDGE_AFTER}",  # IL 62704
    )
)
# With a test: True when what was found is clinical after all.
_DOUBTFUL = tuple(
    (re.compile(one, re.IGNORECASE), group)
    for one, group in (
        (rf"{EDGE}(?:{_MAYBE_TITLES})\.?\s+({_NAME})(?:\s+{_NAME})?", 1),
        (rf"{EDGE}\d{{1,5}}[a-z]?,?\s+((?:{_NAME}\s+){{1,3}})(?:{_MAYBE_STREET}){EDGE_AFTER}\.?{_TOWN}", 1),
        (rf"{EDGE}(?:by|von|par|door|por|da)\s+({_NAME}(?:\s+{_NAME})?){EDGE_AFTER}", 1),
        (rf"{EDGE}(?:{_WHO})\s*[:=\uff1a]\s*({_NAME}(?:[ ,]+{_NAME}){{0,2}})", 1),
    )
)
_YEARS = re.compile(rf"{EDGE}{_YEAR}{EDGE_AFTER}")
_NO_YEAR_BEFORE = re.compile(
    r"(?:\b(?:b|te|tr|ti|ww|wl|w|l|c|fov|bw|hu|iso)\s*=?|[=x*]|[:/]\s?|\d\s)\s*$", re.IGNORECASE
)
_NO_YEAR_AFTER = re.compile(r"\s?(?:ms|hu|hz|mm|us|ml|mgy|px|cgy|msec|x|\*)\b", re.IGNORECASE)
_UNITS = frozenset("mm cm ml mg kg ms sec min phase view slice plane echo channel level part of x".split())


def spans(text: str, *, certain_only: bool = False) -> Iterator[tuple[int, int]]:
    """Where something that identifies stands in a text.

    Args:
        text: As decoded.
        certain_only: Only what can be nothing else.
    """
    for pattern in CERTAIN:
        yield from (match.span() for match in pattern.finditer(text))
    if certain_only:
        return
    for pattern in LIKELY:
        yield from (match.span() for match in pattern.finditer(text))
    for pattern, group in _DOUBTFUL:
        yield from (match.span() for match in pattern.finditer(text) if not all_clinical(match.group(group)))
    for match in _YEARS.finditer(text):
        before, after = text[max(0, match.start() - 8) : match.start()], text[match.end() : match.end() + 6]
        if not (_NO_YEAR_BEFORE.search(before) or _NO_YEAR_AFTER.match(after)):
            yield match.span()


def identifies(text: str) -> bool:
    """Whether anything of this kind stands in a text."""
    return next(spans(text), None) is not None


def all_clinical(text: str) -> bool:
    """Whether every word of a text is a clinical word, a unit or a number with one."""
    words = clinical_words()
    found = re.findall(r"[^\W_]+", text.lower())
    return all(word in words or word in _UNITS or word[0].isdigit() for word in found)
