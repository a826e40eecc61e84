"""Clean the content items of structured reports: PS3.15 Table E.3.4-1."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from claimed_med.dicom import deid_values as values
from claimed_med.dicom.deid_profile import table
from claimed_med.dicom.elements import Element, elements, encoded, items

if TYPE_CHECKING:
    from claimed_med.dicom.deid_profile import Profile

_CONCEPT, _VALUE_TYPE, _CODE, _SCHEME = 0x0040A043, 0x0040A040, 0x00080100, 0x00080102
# Sequences whose items are content items: of reports, acquisition context, specimen preparation, implant assessments.
CONTENT_SEQUENCES = frozenset({0x0040A730, 0x00400555, 0x00400612, 0x00400440})
# Value type -> (tag of the value, VR)
_VALUES = {
    "TEXT": (0x0040A160, "UT"),
    "PNAME": (0x0040A123, "PN"),
    "DATE": (0x0040A121, "DA"),
    "TIME": (0x0040A122, "TM"),
    "DATETIME": (0x0040A120, "DT"),
    "UIDREF": (0x0040A124, "UI"),
}


@cache
def _rules() -> dict[tuple[str, str], dict[str, Any]]:
    found = {}
    for name, rule in table()["content_items"].items():
        code, scheme, _ = name.rsplit(" ", 2)
        found[code, scheme] = rule
    return found


class ContentRules:
    """What a profile does to content items.

    Args:
        profile: The profile.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    def action(self, code: str, scheme: str, value_type: str) -> str:
        """The action on an item: `K`, `C`, `D` or `X`; `N` for items below which nothing is decided."""
        rule = _rules().get((code, scheme))
        if rule is None:
            if value_type == "PNAME":
                return "D"
            return "C" if value_type in {"TEXT", "DATE", "DATETIME", "TIME", "UIDREF"} else "N"
        told = [rule.get("options", {}).get(one, "") for one in self.profile.options]
        if "C" in told and self.profile.has("clean_descriptors") and value_type == "TEXT":
            return "C"
        found = "K" if "K" in told else "C" if "C" in told else str(rule["basic"])
        return "X" if found == "X/D" else found

    def item(self, walk: Any, found: list[Element], chunks: dict[int, bytes], charset: str) -> dict[int, bytes] | None:
        """The new elements of one content item; None when it goes.

        Args:
            walk: The pass that calls: its data, encoding, counts and owner are used.
            found: The elements of the item as they were.
            chunks: The new ones as the general rules made them; items below are done already.
            charset: SpecificCharacterSet.
        """
        by_tag = {one.tag: one for one in found}
        kind = _text(walk.data, by_tag.get(_VALUE_TYPE))
        code, scheme = self._concept(walk, by_tag.get(_CONCEPT))
        action = self.action(code, scheme, kind)
        if action == "N":
            return chunks
        walk.counts[
            f"ContentItem {scheme} {code}" if (code, scheme) in _rules() else f"ContentItem {kind}", action
        ] += 1
        if action == "X":
            return None
        if kind not in _VALUES or (action == "K" and kind != "UIDREF"):
            return chunks
        tag, vr = _VALUES[kind]
        if tag not in by_tag:
            return chunks
        return chunks | {tag: self._value(walk, by_tag[tag], vr, action, charset)}

    def _value(self, walk: Any, one: Element, vr: str, action: str, charset: str) -> bytes:
        raw, owner = walk.data[one.value : one.end], walk.owner
        if vr == "UI":
            new = raw if self.profile.has("retain_uids") else values.renamed(raw, owner.keys)
        elif action == "D":
            new = values.dummy(vr, "", raw, walk.encoding)
        elif vr in {"DA", "DT"} and self.profile.dates == "K":
            new = raw
        else:
            new = values.cleaned(raw, vr, charset, self.profile, owner.identifiers, owner.shift_days)
        return encoded(one.tag, one.vr, new or values.dummy(vr, "", raw, walk.encoding), walk.encoding)

    @staticmethod
    def _concept(walk: Any, sequence: Element | None) -> tuple[str, str]:
        if sequence is None:
            return "", ""
        for start, end in items(walk.data, sequence, walk.encoding):
            found = {one.tag: one for one in elements(walk.data, start, end, walk.encoding)}
            return _text(walk.data, found.get(_CODE)), _text(walk.data, found.get(_SCHEME))
        return "", ""


def _text(data: bytes, element: Element | None) -> str:
    return data[element.value : element.end].decode("latin-1").strip(" \0") if element else ""
