"""Look at de-identified objects as a stranger would: does anything stand in them that the profile does not allow?"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from claimed_med.dicom import deid_values as values
from claimed_med.dicom.deid_patterns import identifies
from claimed_med.dicom.deid_profile import Plan, Profile
from claimed_med.dicom.elements import (
    PIXEL_DATA,
    Element,
    Encoding,
    elements,
    inner_encoding,
    items,
    keyword_of,
    open_bytes,
)
from claimed_med.dicom.pseudonyms import DICOM_ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_PSEUDONYM = re.compile(r"P[0-9A-F]{16}")
_NEW_UID = re.compile(r"2\.25\.\d{1,39}")
_SOP_CLASS, _REMOVED, _CHARSET = 0x00080016, 0x00120062, 0x00080005
_PROSE = frozenset("LO LT SH ST UT UC".split())


@dataclass
class Checked:
    """What was found in a set of objects.

    Attributes:
        n_files: How many were looked at.
        findings: (keyword, what is wrong) -> how often.
    """

    n_files: int = 0
    findings: Counter[tuple[str, str]] = field(default_factory=Counter)

    def as_list(self) -> list[dict[str, Any]]:
        """The findings, sorted."""
        return [{"attribute": key, "what": what, "count": n} for (key, what), n in sorted(self.findings.items())]


def check(paths: Iterable[Path], profile: Profile) -> Checked:
    """Check objects against the profile that was to be followed.

    Args:
        paths: De-identified files.
        profile: What they were de-identified with.
    """
    found = Checked()
    for path in paths:
        found.n_files += 1
        _Check(path.read_bytes(), profile, found.findings).run()
    return found


class _Check:
    def __init__(self, data: bytes, profile: Profile, findings: Counter[tuple[str, str]]) -> None:
        self.stored = open_bytes(data)
        self.data, self.profile, self.findings = self.stored.data, profile, findings
        self.plan = Plan(profile, self.stored.sop_class)

    def run(self) -> None:
        found = list(elements(self.data, self.stored.start, len(self.data), self.stored.encoding))
        by_tag = {one.tag: one for one in found}
        if _REMOVED not in by_tag or self._text(by_tag[_REMOVED]) != "YES":
            self._find("PatientIdentityRemoved", "is not YES")
        if _SOP_CLASS in by_tag:
            self.plan = Plan(self.profile, self._text(by_tag[_SOP_CLASS]) or self.stored.sop_class)
        self._dataset(found, self.stored.encoding, "", "")

    def _dataset(self, found: list[Element], encoding: Encoding, sequence: str, charset: str) -> None:
        creators = {one.tag: self._text(one) for one in found if one.tag >> 16 & 1 and one.tag & 0xFF00 == 0}
        for one in found:
            if one.tag == _CHARSET:
                charset = self._text(one)
            if one.tag in PIXEL_DATA:
                continue
            if one.tag >> 16 & 1:
                self._private(one, creators)
                continue
            self._standard(one, encoding, sequence, charset)
            if one.vr == "SQ":
                inner = inner_encoding(self.data, one, encoding)
                for start, end in items(self.data, one, inner):
                    self._dataset(list(elements(self.data, start, end, inner)), inner, keyword_of(one.tag), charset)

    def _standard(self, one: Element, encoding: Encoding, sequence: str, charset: str) -> None:
        keyword, action = keyword_of(one.tag), self.plan.action(one.tag, sequence)
        raw = self.data[one.value : one.end].strip(b" \0")
        if one.tag >> 24 in {0x50, 0x60} or action == "X":
            self._find(keyword, "must not be there")
        elif action == "Z" and raw:
            self._find(keyword, "must be empty")
        elif action == "P" and not _PSEUDONYM.fullmatch(raw.decode("latin-1")):
            self._find(keyword, "is no pseudonym")
        elif action == "U" and not all(_is_new(uid) for uid in raw.decode("latin-1").split("\\")):
            self._find(keyword, "is an original UID")
        elif action == "D" and one.vr not in {"SQ", "UI"} and raw != self._dummy(one, keyword, encoding):
            self._find(keyword, "is no dummy")
        elif one.vr == "PN" and raw and raw != b"ANONYMOUS" and action not in {"P", "K"}:
            self._find(keyword, "names somebody")
        elif action == "C" and one.vr in _PROSE:
            decoded, _ = values.decoded(self.data[one.value : one.end], charset)
            if identifies(decoded):
                self._find(keyword, "holds a date, number, address or the like")

    def _dummy(self, one: Element, keyword: str, encoding: Encoding) -> bytes:
        return values.dummy(one.vr, keyword, self.data[one.value : one.end], encoding).strip(b" \0")

    def _private(self, one: Element, creators: dict[int, str]) -> None:
        if one.tag & 0xFF00 == 0:
            known = creators[one.tag] in self.profile.private
        else:
            creator = creators.get(one.tag & 0xFFFF0000 | one.tag >> 8 & 0xFF, "")
            known = (one.tag >> 16, one.tag & 0xFF) in self.profile.private.get(creator, frozenset())
        if not known:
            self._find("PrivateAttributes", "is not known to be safe")

    def _text(self, element: Element) -> str:
        return self.data[element.value : element.end].decode("latin-1").strip(" \0")

    def _find(self, keyword: str, what: str) -> None:
        self.findings[keyword, what] += 1


def _is_new(uid: str) -> bool:
    bare = uid.strip(" \0")
    return not bare or bare.startswith(DICOM_ROOT) or _NEW_UID.fullmatch(bare) is not None
