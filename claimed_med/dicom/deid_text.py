"""Clean text: take out what names a person, keep what names a finding.

Three nets, one behind the other: identifiers of this very patient, gathered from all objects; patterns (dates, phones,
e-mails, addresses, numbers); and, for free text, a vocabulary outside of which no word stays.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from claimed_med.dicom.deid_identifiers import folded
from claimed_med.dicom.deid_patterns import spans
from claimed_med.dicom.vocabulary import clinical_words

if TYPE_CHECKING:
    from claimed_med.dicom.deid_identifiers import Identifiers

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_NUMBER = re.compile(
    r"[+-]?\d+(?:[.,]\d+)?(?:mm|cm|m|ml|mg|g|kg|kv|kvp|ma|mas|ms|s|sec|min|hu|deg|t|b|d|x|%|st|nd|rd|th|h)?$"
)

_MOST_ROUNDS = 5
Net = Literal["kept", "descriptor", "prose"]


def clean(text: str, identifiers: Identifiers, net: Net) -> str:
    """Take identifiers and patterns out of a text.

    Args:
        text: As decoded.
        identifiers: Of the patient.
        net: `kept` takes out only what can be nothing but an identifier; `descriptor` also what looks like one; `prose`
            also every word that is no clinical word and every number that may identify.

    Returns:
        The text without them, white space and separators tidied; the very text where there was nothing; '' when
        nothing is left.
    """
    known = identifiers.certain if net == "kept" else identifiers.pattern
    for _ in range(_MOST_ROUNDS):  # what two removed parts leave together may be something again
        found = [match.span() for match in known.finditer(folded(text))] if known else []
        found += spans(text, certain_only=net == "kept")
        if net == "prose":
            found += [match.span() for match in _WORD.finditer(text) if not _is_clinical(match.group())]
        if not found:
            return text
        text = _tidy(_without(text, found))
    return ""


def _without(text: str, found: list[tuple[int, int]]) -> str:
    kept, place = [], 0
    for start, end in sorted(found):
        if start > place:
            kept.append(text[place:start])
        place = max(place, end)
    return " ".join([*kept, text[place:]])


def _is_clinical(word: str) -> bool:
    words = clinical_words()
    return all(part in words or _NUMBER.match(part) for part in re.split(r"['\u2019-]", folded(word)))


def _tidy(text: str) -> str:
    text = re.sub(r"\(\s*[,;:./-]*\s*\)|\[\s*\]", " ", text)
    text = re.sub(r"\s+([,;:.])", r"\1", re.sub(r"[^\S\r\n]+", " ", text))
    text = re.sub(r"([,;:/|_-])(?:\s*[,;:/|_-])+", r"\1", text)
    return text.strip(" ,;:/|_-^")
