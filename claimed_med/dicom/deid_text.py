"""Clean text: take out what names a person, keep what names a finding.

Three nets, one behind the other: identifiers of this very patient, gathered from all objects; patterns (dates, phones,
e-mails, addresses, numbers); and, for free text, a vocabulary outside of which no word stays.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property

from claimed_med.dicom.vocabulary import clinical_words

SHORTEST_SWEPT = 4
SHORTEST_SWEPT_NUMBER = 7  # shorter ones stand in measurements too
# Words that de-identification itself writes.
_OURS = frozenset("anon anonymized anonymous claimed_med modified none removed research strict unmodified".split())
_SHORTEST_NAME = 2
_SHORTEST_NUMBER = 5
_EDGE, _EDGE_AFTER = r"(?<![^\W_])", r"(?![^\W_])"
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_NUMBER = re.compile(
    r"[+-]?\d+(?:[.,]\d+)?(?:mm|cm|m|ml|mg|g|kg|kv|kvp|ma|mas|ms|s|sec|min|hu|deg|t|b|d|x|%|st|nd|rd|th|h)?$"
)
_MONTHS = (
    "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|janv|fev|f\u00e9v|avr|mai|juin|juil|ao\u00fbt|okt|dez|m\u00e4r"
)
_STREET = (
    "street|st|road|rd|avenue|ave|lane|ln|drive|dr|terrace|court|ct|place|pl|square|boulevard|blvd|way|close|crescent"
    "|gardens|grove|park|hill|parkway|highway|row|walk|circle|trail|stra\u00dfe|strasse|weg|platz|gasse|allee|rue"
)
_TITLES = "dr|prof|professor|doctor|mr|mrs|ms|miss|herr|frau|mme|mlle|sir|md"
_TOWN = r"(?:,\s*[^\W\d_]+(?:\s+[^\W\d_]+)?)?"
_TIME = r"(?:[t ]?\d\d:?\d\d(?::?\d\d)?)?"
PATTERNS = tuple(
    re.compile(one, re.IGNORECASE)
    for one in (
        r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+",  # e-mail
        r"\b(?:https?://|www\.)\S+",
        rf"{_EDGE}(?:{_TITLES})\.?\s+[^\W\d_][\w'\u2019-]+(?:\s+[A-Z][\w'\u2019-]+)?",
        rf"{_EDGE}\d{{1,5}}[a-z]?,?\s+(?:[^\W\d_][\w'\u2019.-]*\s+){{1,3}}(?:{_STREET}){_EDGE_AFTER}\.?{_TOWN}",
        rf"{_EDGE}(?:19|20)\d\d[-./ ]?(?:0[1-9]|1[0-2])[-./ ]?(?:0[1-9]|[12]\d|3[01]){_EDGE_AFTER}{_TIME}",
        rf"{_EDGE}\d{{1,2}}[-./]\d{{1,2}}[-./](?:19|20)?\d\d{_EDGE_AFTER}",
        rf"{_EDGE}\d{{1,2}}(?:st|nd|rd|th|\.)?[ -](?:{_MONTHS})[a-z\u00e9\u00fb]*\.?,?[ -]?(?:19|20)?\d\d{_EDGE_AFTER}",
        rf"{_EDGE}(?:{_MONTHS})[a-z\u00e9\u00fb]*\.?[ -]\d{{1,2}}(?:st|nd|rd|th)?,?[ -](?:19|20)\d\d{_EDGE_AFTER}",
        r"(?:\+\d{1,3}[ .-]?)?\(\d{2,5}\)[ .-]?\d{2,4}(?:[ .-]?\d{2,4}){1,3}",  # phone
        r"\+\d{1,3}(?:[ .-]?\d{2,4}){2,5}",
        rf"{_EDGE}\d{{2,4}}(?:[ .-]\d{{2,4}}){{2,4}}{_EDGE_AFTER}",  # 585-16-1510
        rf"{_EDGE}\d{{3,4}}-\d{{4}}{_EDGE_AFTER}",
        rf"{_EDGE}[a-z]{{1,6}}[-#:]?\d{{5,}}[a-z0-9]*{_EDGE_AFTER}",  # MRN4178601
        rf"{_EDGE}\d{{6,}}[a-z]{{0,3}}{_EDGE_AFTER}",
        rf"{_EDGE}(?:19[0-9]\d|20[0-4]\d){_EDGE_AFTER}",  # a year alone
        rf"{_EDGE}(?:dob|born|mrn|ssn|nhs|acc(?:ession)?|pat(?:ient)?\s*id)\s*(?:no\.?|number|nr\.?)?\s*[:#=]",
    )
)

_UMLAUTS: dict[int, str] = {0xE4: "ae", 0xF6: "oe", 0xFC: "ue", 0xDF: "ss"}


@dataclass
class Identifiers:
    """What names one patient and those around: gathered from all of the patient's objects.

    Attributes:
        words: Names and parts of names, folded.
        phrases: Whole values: addresses, institutions, numbers, folded.
    """

    words: set[str] = field(default_factory=set)
    phrases: set[str] = field(default_factory=set)

    def add_name(self, value: str) -> None:
        """Take a person's name: each part of it counts alone."""
        for spelling in spellings(value):
            for part in re.split(r"[\^=\s,;._]+", spelling):
                bare = part.strip("'\"()-")
                if len(bare) >= _SHORTEST_NAME and not bare.isdigit():
                    self.words.add(bare)
                elif len(bare) >= _SHORTEST_NUMBER:
                    self.phrases.add(bare)

    def add_value(self, value: str) -> None:
        """Take a number, address, institution or telephone number: it counts as a whole, telling parts alone."""
        for spelling in spellings(" ".join(value.split())):
            if len(spelling) >= SHORTEST_SWEPT and spelling not in clinical_words():
                self.phrases.add(spelling)
            for part in _WORD.findall(spelling):
                told = len(part) >= SHORTEST_SWEPT and part not in clinical_words() and not part.isdigit()
                if told and any(one.isalpha() for one in part):
                    self.words.add(part)
                elif part.isdigit() and len(part) >= _SHORTEST_NUMBER:
                    self.phrases.add(part)

    @cached_property
    def pattern(self) -> re.Pattern[str] | None:
        """Matches every identifier in folded text."""
        parts = [
            f"{_EDGE}{re.escape(one)}{_EDGE_AFTER}" for one in sorted(self.words, key=lambda one: (-len(one), one))
        ]
        parts = [
            (re.escape(one) if len(one) >= _SHORTEST_NUMBER else f"{_EDGE}{re.escape(one)}{_EDGE_AFTER}")
            for one in sorted(self.phrases, key=lambda one: (-len(one), one))
        ] + parts
        return re.compile("|".join(parts)) if parts else None

    @cached_property
    def swept(self) -> tuple[bytes, ...]:
        """Identifiers that must not stand anywhere in an object, as lower-case bytes in the usual character sets.

        Short ones and those that are clinical words too are looked for in text only.
        """
        told = {one for one in self.words | self.phrases if _is_swept(one)}
        found = set()
        for one in told:
            for form in (one, one.upper()):
                for name in ("utf-8", "latin-1"):
                    try:
                        found.add(form.encode(name).lower())
                    except UnicodeEncodeError:
                        continue
        return tuple(sorted(found))

    def left_in(self, content: bytes) -> bool:
        """Whether any identifier stands in the bytes of a header."""
        lowered = content.lower()
        return any(one in lowered and _stands_alone(one, lowered) for one in self.swept)


def _stands_alone(identifier: bytes, content: bytes) -> bool:
    """Whether a name or number is no part of a longer word or UID; mixed ones count wherever they stand."""
    if not identifier.isalpha() and not identifier.isdigit():
        return True
    return re.search(rb"(?<![a-z0-9.])" + re.escape(identifier) + rb"(?![a-z0-9.])", content) is not None


def _is_swept(one: str) -> bool:
    if one.isdigit():
        return len(one) >= SHORTEST_SWEPT_NUMBER
    return len(one) >= SHORTEST_SWEPT and one not in clinical_words() and one not in _OURS


def folded(text: str) -> str:
    """Lower case, of the same length as the text: each character alone, so that places stay."""
    return "".join(one.lower() if len(one.lower()) == 1 else one for one in text)


def spellings(value: str) -> set[str]:
    """A value as it may be spelled: with its accents, without them, and with ae, oe, ue for umlauts."""
    lowered = folded(value.strip())
    bare = "".join(one for one in unicodedata.normalize("NFKD", lowered) if not unicodedata.combining(one))
    german = lowered.translate(_UMLAUTS)
    return {lowered, bare, german} - {""}


def clean(text: str, identifiers: Identifiers, *, vocabulary: bool) -> str:
    """Take identifiers and patterns out of a text.

    Args:
        text: As decoded.
        identifiers: Of the patient.
        vocabulary: Also drop every word that is no clinical word and every number that may identify: for free text.

    Returns:
        The text without them, white space and separators tidied; '' when nothing is left.
    """
    folded_text = folded(text)
    spans = [match.span() for match in identifiers.pattern.finditer(folded_text)] if identifiers.pattern else []
    for pattern in PATTERNS:
        spans += [match.span() for match in pattern.finditer(text)]
    if vocabulary:
        words = clinical_words()
        spans += [
            match.span()
            for match in _WORD.finditer(text)
            if not all(part in words or _NUMBER.match(part) for part in re.split(r"['\u2019-]", folded(match.group())))
        ]
    if not spans:
        return text
    kept, place = [], 0
    for start, end in sorted(spans):
        if start > place:
            kept.append(text[place:start])
        place = max(place, end)
    kept.append(text[place:])
    return _tidy(" ".join(kept))


def _tidy(text: str) -> str:
    text = re.sub(r"\(\s*[,;:./-]*\s*\)|\[\s*\]", " ", text)
    text = re.sub(r"\s+([,;:.])", r"\1", re.sub(r"[^\S\r\n]+", " ", text))
    text = re.sub(r"([,;:/|_-])(?:\s*[,;:/|_-])+", r"\1", text)
    return text.strip(" ,;:/|_-^")
