"""Confidentiality profiles: what happens to each attribute, and why.

A profile is a TOML file: options of PS3.15, a few numbers, and exceptions. What it does to an attribute follows from
the standard's table, the options, and the type of the attribute in the object's IOD, so that the result stays valid.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydicom.datadict import keyword_for_tag, tag_for_keyword

from claimed_med.dicom.elements import keyword_of, vr_of
from claimed_med.dicom.iod import type_of
from claimed_med.errors import ContractError

HOME = Path(__file__).parent / "confidentiality"
OPTIONS = (
    "retain_safe_private",
    "retain_uids",
    "retain_device_identity",
    "retain_institution_identity",
    "retain_patient_characteristics",
    "retain_longitudinal_full_dates",
    "retain_longitudinal_modified_dates",
    "clean_descriptors",
    "clean_structured_content",
    "clean_graphics",
)
ACTIONS = {
    "X": "removed",
    "Z": "emptied",
    "D": "replaced by a dummy",
    "K": "kept",
    "C": "cleaned",
    "U": "replaced by a UID derived with the secret",
    "P": "replaced by the patient's pseudonym",
}
PSEUDONYMS = frozenset({0x00100010, 0x00100020})
_FREE_TEXT = frozenset({"LT", "ST", "UT"})
_CODES = frozenset("CodingSchemeUID ContextUID MappingResourceUID PrivateDataElementDefinition".split())
_DRAWN = frozenset({0x50, 0x60})  # groups of curves and overlays: they may draw text
_REQUIRED, _MAY_BE_EMPTY = ("1", "1C"), ("2", "2C")


@dataclass(frozen=True)
class Profile:
    """A confidentiality profile.

    Attributes:
        name: Of the profile.
        options: Options of PS3.15 E.3.
        max_shift_days: Dates of a patient move back by 1 to so many days.
        oldest_age_years: Greater ages are written as this and one.
        free_text: `vocabulary` (only clinical words stay) or `patterns` (only identifiers go).
        pixels: Burned-in text: `auto`, `always` or `never`.
        exceptions: Tag -> action.
        private: Creator -> {(group, last byte)} of private elements that stay.
    """

    name: str
    options: tuple[str, ...]
    max_shift_days: int = 0
    oldest_age_years: int = 89
    free_text: str = "vocabulary"
    pixels: str = "auto"
    exceptions: dict[int, str] = field(default_factory=dict)
    private: dict[str, frozenset[tuple[int, int]]] = field(default_factory=dict)

    def has(self, option: str) -> bool:
        """Whether an option is on."""
        return option in self.options

    @property
    def dates(self) -> str:
        """Action on dates that the table does not name."""
        if self.has("retain_longitudinal_full_dates"):
            return "K"
        return "C" if self.has("retain_longitudinal_modified_dates") else "X/Z/D"

    def as_dict(self) -> dict[str, Any]:
        """The profile as JSON-ready values."""
        return {
            "name": self.name,
            "edition": table()["source"]["edition"],
            "options": list(self.options),
            "max_shift_days": self.max_shift_days,
            "oldest_age_years": self.oldest_age_years,
            "free_text": self.free_text,
            "pixels": self.pixels,
            "exceptions": {keyword_of(tag): action for tag, action in sorted(self.exceptions.items())},
        }


@cache
def table() -> dict[str, Any]:
    """Tables E.1-1 and E.3.4-1 of PS3.15."""
    return dict(json.loads((HOME / "table.json").read_text(encoding="utf-8")))


def names() -> list[str]:
    """The profiles that come with the project."""
    return ["research", "strict"]


def load(given: str) -> Profile:
    """A profile by name, or from the text of a TOML file.

    Args:
        given: `research`, `strict`, or TOML text (more than one line).

    Raises:
        ContractError: No such profile, or something in it that no profile has.
    """
    if "\n" not in given:
        if given not in names():
            raise ContractError("profile", "is unknown", got=given, allowed=", ".join(names()))
        given = (HOME / f"{given}.toml").read_text(encoding="utf-8")
    try:
        told = tomllib.loads(given)
    except tomllib.TOMLDecodeError as error:
        raise ContractError("profile", "is no TOML", got=str(error).partition("(")[2].rstrip(")")) from None
    return _checked(told)


def load_file(path: Path) -> Profile:
    """A profile from a TOML file.

    Raises:
        ContractError: The file cannot be read, or something is in it that no profile has.
    """
    try:
        return load(path.read_text(encoding="utf-8") + "\n")
    except (OSError, UnicodeDecodeError):
        raise ContractError("profile", "the file cannot be read", do="name a TOML file, research or strict") from None


def _checked(told: dict[str, Any]) -> Profile:
    known = {"name", "options", "max_shift_days", "oldest_age_years", "free_text", "pixels", "exceptions", "private"}
    for name in told.keys() - known:
        raise ContractError("profile", "has an entry that no profile has", got=name, allowed=", ".join(sorted(known)))
    for option in told.get("options", []):
        if option not in OPTIONS:
            raise ContractError("profile", "names an unknown option", got=option, allowed=", ".join(OPTIONS))
    if {"retain_longitudinal_full_dates", "retain_longitudinal_modified_dates"} <= set(told.get("options", [])):
        raise ContractError("profile", "keeps dates both full and modified", do="choose one of the two options")
    modified = "retain_longitudinal_modified_dates" in told.get("options", [])
    if modified and not 1 <= int(told.get("max_shift_days", 0)) <= 36500:
        raise ContractError("profile", "max_shift_days must lie in [1, 36500]", got=told.get("max_shift_days", 0))
    for name, allowed in (("free_text", ("vocabulary", "patterns")), ("pixels", ("auto", "always", "never"))):
        if told.get(name, allowed[0]) not in allowed:
            raise ContractError("profile", f"{name} is unknown", got=told[name], allowed=", ".join(allowed))
    exceptions = {}
    for keyword, action in told.get("exceptions", {}).items():
        tag = tag_for_keyword(keyword)
        if tag is None or action not in {"X", "Z", "D", "K", "C", "U"}:
            raise ContractError("profile", "an exception is wrong", got=f"{keyword} = {action}", allowed="X Z D K C U")
        exceptions[int(tag)] = action
    private = _private(told.get("private", {})) if "retain_safe_private" in told.get("options", []) else {}
    plain = {name: told[name] for name in known - {"options", "exceptions", "private"} if name in told}
    return Profile(options=tuple(told.get("options", [])), exceptions=exceptions, private=private, **plain)


def _private(added: dict[str, list[str]]) -> dict[str, frozenset[tuple[int, int]]]:
    known = tomllib.loads((HOME / "safe_private.toml").read_text(encoding="utf-8"))
    places = {**known, **{creator: [*known.get(creator, []), *found] for creator, found in added.items()}}
    return {
        creator: frozenset((int(one.split()[0], 16), int(one.split()[1], 16)) for one in found)
        for creator, found in places.items()
    }


class Plan:
    """What a profile does to the attributes of one SOP class.

    Args:
        profile: The profile.
        sop_class_uid: Of the object; decides the types of its attributes.
    """

    def __init__(self, profile: Profile, sop_class_uid: str) -> None:
        self.profile = profile
        self.sop_class_uid = sop_class_uid
        self._known: dict[tuple[int, str], str] = {}

    def action(self, tag: int, sequence: str) -> str:
        """The action on a standard attribute: one letter of `ACTIONS`.

        Args:
            tag: Of the attribute; even group.
            sequence: Keyword of the sequence that holds it, '' at the top.
        """
        place = (tag, sequence)
        if place not in self._known:
            self._known[place] = self._resolved(tag, sequence)
        return self._known[place]

    def type(self, tag: int, sequence: str) -> str:
        """The attribute's type in the IOD."""
        return type_of(self.sop_class_uid, keyword_of(tag), sequence)

    def _resolved(self, tag: int, sequence: str) -> str:
        if tag in PSEUDONYMS:
            return "P"
        if tag >> 24 in _DRAWN:
            return "X"
        vr = vr_of(tag)
        code = self.profile.exceptions.get(tag) or self._by_table(tag) or self._by_kind(tag, vr)
        if vr == "AS" and code == "K" and tag not in self.profile.exceptions:
            return "C"  # great ages name a person
        if "U" in code:
            return "K" if vr == "SQ" else "U"
        return code if code in {"K", "C"} else self._fitting(code, vr, self.type(tag, sequence))

    @staticmethod
    def _fitting(code: str, vr: str, kind: str) -> str:
        """The choice of X/Z/D that leaves a valid object."""
        if kind in _REQUIRED:
            return "U" if vr == "UI" else "D"
        if kind in _MAY_BE_EMPTY:
            return "Z" if "Z" in code or code == "X" else "D"
        return next(one for one in "XZD" if one in code.split("/"))

    def _by_table(self, tag: int) -> str:
        rule = rule_of(tag)
        if rule is None:
            return beyond().get(tag, "")
        told: list[str] = [rule.get("options", {}).get(one, "") for one in self.profile.options]
        cleans = rule.get("options", {}).get("clean_descriptors") if self.profile.has("clean_descriptors") else ""
        return str(cleans or ("K" if "K" in told else "") or ("C" if "C" in told else "") or rule["basic"])

    def _by_kind(self, tag: int, vr: str) -> str:
        """What the table does not name: what may hold a person, a date or prose does not stay as it is."""
        keyword = keyword_of(tag)
        if vr == "PN":
            return "X/Z/D"
        if vr in {"DA", "DT"} or (vr == "TM" and self.profile.dates == "X/Z/D"):
            return self.profile.dates
        if vr == "UI":
            structural = keyword.endswith(("ClassUID", "SyntaxUID")) or keyword in _CODES
            return "K" if structural or self.profile.has("retain_uids") else "U"
        if vr == "UR" or not keyword_for_tag(tag):
            return "X"
        return "C" if vr in _FREE_TEXT or vr == "AS" else "K"


@cache
def beyond() -> dict[int, str]:
    """Tag -> basic action of attributes that identify although the standard's table does not list them."""
    told = tomllib.loads((HOME / "beyond.toml").read_text(encoding="utf-8"))
    return {int(tag): action for keyword, action in told.items() if (tag := tag_for_keyword(keyword)) is not None}


@cache
def rule_of(tag: int) -> dict[str, Any] | None:
    """The row of Table E.1-1 for a tag, repeating groups included."""
    rules = table()["attributes"]
    name = f"{tag:08X}"
    group = tag >> 24
    if group == 0x50:
        name = "50xxxxxx"
    elif group == 0x60:
        name = f"60xx{tag & 0xFFFF:04X}"
    found = rules.get(name)
    return dict(found) if found else None


def explained(profile: Profile, sop_class_uid: str = "") -> list[dict[str, str]]:
    """What a profile does to each attribute that a rule names: tag, name, action, and why.

    Args:
        profile: The profile.
        sop_class_uid: Of the objects in question; decides X/Z/D choices.
    """
    plan = Plan(profile, sop_class_uid)
    table_rules = {name: rule for name, rule in table()["attributes"].items() if name != "PRIVATE"}
    named = {f"{tag:08X}" for tag in profile.exceptions.keys() | beyond().keys()} - table_rules.keys()
    rows = []
    for name in sorted({*table_rules, *named}):
        tag = int(name.replace("x", "0"), 16)
        rule = table_rules.get(name, {"name": keyword_of(tag)})
        action = plan.action(tag, "")
        why = _why(profile, tag, rule)
        rows.append({"tag": name, "name": rule["name"], "action": action, "does": ACTIONS[action], "why": why})
    private = "K" if profile.private else "X"
    what = f"{sum(map(len, profile.private.values()))} elements of {len(profile.private)} creators stay, all others go"
    does = what if profile.private else ACTIONS["X"]
    return [*rows, {"tag": "PRIVATE", "name": "Private Attributes", "action": private, "does": does, "why": "basic X"}]


def _why(profile: Profile, tag: int, rule: dict[str, Any]) -> str:
    if tag in PSEUDONYMS:
        return "the pseudonym is derived with the secret"
    if tag >> 24 in _DRAWN:
        return "basic X; removing it is how clean_graphics cleans"
    if tag in profile.exceptions:
        return "exception of the profile"
    told = [f"{one} {action}" for one, action in rule.get("options", {}).items() if profile.has(one)]
    basic = rule.get("basic")
    return "; ".join([f"basic {basic}" if basic else "beyond the table: identifies all the same", *told])
