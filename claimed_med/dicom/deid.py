"""De-identify DICOM objects: PS3.15 Annex E, every SOP class, straight on the bytes.

    keys = keys_from_environment(profile.max_shift_days)
    identifiers = gather(files)                  # of one patient
    made = Deidentifier(profile, keys, identifiers, patient_key).clean(data)
    made.data, made.sop_uid, made.counts

What the profile lets stay is copied as it is, pixels included. Afterwards the whole header is searched for every
identifier of the patient; what still holds one is cleaned, and an object that cannot be cleaned is refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from claimed_med.dicom import deid_values as values
from claimed_med.dicom.deid_content import ContentRules
from claimed_med.dicom.deid_profile import Plan, Profile
from claimed_med.dicom.elements import (
    PIXEL_DATA,
    Element,
    Encoding,
    elements,
    encoded,
    inner_encoding,
    items,
    keyword_of,
    open_bytes,
    sequence_of,
)
from claimed_med.dicom.file_bytes import file_of
from claimed_med.errors import RefusedError

if TYPE_CHECKING:
    from claimed_med.dicom.deid_text import Identifiers
    from claimed_med.dicom.pseudonyms import Keys

_SOP_CLASS, _SOP_INSTANCE, _CHARSET = 0x00080016, 0x00080018, 0x00080005
_CONTENT, _PADDING, _SIGNATURES = 0x0040A730, 0xFFFCFFFC, 0xFFFAFFFA
_CURVES, _OVERLAYS = 0x50, 0x60
_DUMMY = "dummy"


@dataclass
class Deidentified:
    """One object without its patient.

    Attributes:
        data: The bytes of the file.
        sop_uid: Its new SOPInstanceUID.
        counts: (keyword, action) -> how often.
    """

    data: bytes
    sop_uid: str
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)


class Deidentifier:
    """De-identifies the objects of one patient.

    Args:
        profile: What to do.
        keys: From the project's secret.
        identifiers: What names this patient, from all of the objects.
        patient_key: What the patient is called: the same for all of the objects; never leaves this class.
    """

    def __init__(self, profile: Profile, keys: Keys, identifiers: Identifiers, patient_key: str) -> None:
        self.profile = profile
        self.keys = keys
        self.identifiers = identifiers
        self.pseudonym = keys.patient(patient_key)
        self.shift_days = keys.shift_days(patient_key)
        self.content = ContentRules(profile)
        self._plans: dict[str, Plan] = {}

    def clean(self, data: bytes) -> Deidentified:
        """De-identify one file.

        Args:
            data: Its bytes.

        Raises:
            InputError: The bytes are no DICOM file, or damaged.
            RefusedError: An identifier is left in a place where it cannot be taken out.
        """
        stored = open_bytes(data)
        counts: Counter[tuple[str, str]] = Counter()
        top = {one.tag: one for one in elements(stored.data, stored.start, len(stored.data), stored.encoding)}
        sop_class = self._text(stored.data, top.get(_SOP_CLASS)) or stored.sop_class
        walk = _Walk(self, stored.data, stored.encoding, self._plan(sop_class), counts)
        chunks = walk.dataset(list(top.values()), "", "")
        if self._left(chunks):
            walk.sweeps = True
            counts.clear()
            chunks = walk.dataset(list(top.values()), "", "")
            if self._left(chunks):
                raise RefusedError("de-identification", "an identifier is left that cannot be taken out")
        sop_uid = self._text_of(chunks.get(_SOP_INSTANCE, b""), stored.encoding)
        if not sop_uid:
            sop_uid = self.keys.uid(f"without identifier {self.keys.name('content', data)}")
            chunks[_SOP_INSTANCE] = encoded(_SOP_INSTANCE, "UI", sop_uid.encode(), stored.encoding)
        chunks |= values.statements(self.profile, stored.encoding)
        body = b"".join(chunks[tag] for tag in sorted(chunks))
        return Deidentified(file_of(body, stored.syntax, sop_class, sop_uid), sop_uid, counts)

    def _plan(self, sop_class: str) -> Plan:
        if sop_class not in self._plans:
            self._plans[sop_class] = Plan(self.profile, sop_class)
        return self._plans[sop_class]

    def _left(self, chunks: dict[int, bytes]) -> bool:
        """Whether a header still holds an identifier; chunks by chunk, so that none is made of two."""
        return self.identifiers.left_in(b"\n".join(chunk for tag, chunk in chunks.items() if tag not in PIXEL_DATA))

    @staticmethod
    def _text(data: bytes, element: Element | None) -> str:
        return data[element.value : element.end].decode("latin-1").strip(" \0") if element else ""

    def _text_of(self, chunk: bytes, encoding: Encoding) -> str:
        return self._text(chunk, next(elements(chunk, 0, len(chunk), encoding), None))


class _Walk:
    """One pass over one object."""

    def __init__(
        self, owner: Deidentifier, data: bytes, encoding: Encoding, plan: Plan, counts: Counter[tuple[str, str]]
    ) -> None:
        self.owner, self.data, self.encoding, self.plan, self.counts = owner, data, encoding, plan, counts
        self.sweeps = False  # True: also look for identifiers in text that is otherwise kept

    def dataset(self, found: list[Element], sequence: str, charset: str, mode: str = "") -> dict[int, bytes]:
        """The new elements of a data set or item, by tag."""
        own = next((one for one in found if one.tag == _CHARSET), None)
        if own is not None:
            charset = self.data[own.value : own.end].decode("latin-1").strip(" \0")
        creators = {
            one.tag: self.data[one.value : one.end].decode("latin-1").strip(" \0")
            for one in found
            if one.tag >> 16 & 1 and one.tag & 0xFF00 == 0
        }
        chunks: dict[int, bytes] = {}
        for one in found:
            tag = one.tag
            if tag & 0xFFFF == 0 or tag in {_PADDING, _SIGNATURES}:
                continue
            if tag in PIXEL_DATA:
                chunks[tag] = self.data[one.start : one.end]
                continue
            if tag >> 16 & 1:
                chunk = self._private(one, creators)
            elif tag >> 24 in {_CURVES, _OVERLAYS}:
                chunk = b""
                self.counts[keyword_of(tag), "X"] += 1
            else:
                chunk = self._standard(one, sequence, charset, mode)
            if chunk:
                chunks[tag] = chunk
        self._drop_idle_creators(chunks)
        return chunks

    def _standard(self, one: Element, sequence: str, charset: str, mode: str) -> bytes:
        keyword = keyword_of(one.tag)
        action = self.plan.action(one.tag, sequence)
        if mode == _DUMMY and action in {"K", "C"} and one.vr != "SQ":
            action = "D" if one.vr in values.TEXT else action
        if action == "K" and one.vr != "SQ":
            return self._kept(one, charset, sequence)
        if action != "K":
            self.counts[keyword, action] += 1
        if action == "X":
            return b""
        if action == "Z":
            return encoded(one.tag, one.vr, b"", self.encoding)
        if one.vr == "SQ":
            return self._sequence(one, keyword, charset, _DUMMY if action == "D" else mode)
        return self._changed(one, action, charset, sequence)

    def _kept(self, one: Element, charset: str, sequence: str) -> bytes:
        raw = self.data[one.start : one.end]
        if not self.sweeps or not self.owner.identifiers.left_in(raw):
            return raw
        keyword = keyword_of(one.tag)
        if one.vr in values.TEXT and one.vr != "CS":
            self.counts[keyword, "C"] += 1
            return self._changed(one, "C", charset, sequence)
        self.counts[keyword, "D"] += 1
        return self._changed(one, "D", charset, sequence)

    def _changed(self, one: Element, action: str, charset: str, sequence: str) -> bytes:
        owner, keyword = self.owner, keyword_of(one.tag)
        raw = self.data[one.value : one.end]
        required = bool(sequence) or self.plan.type(one.tag, "") in {"1", "1C"}
        if action == "P":
            new = owner.pseudonym.encode()
        elif action == "U":
            new = values.renamed(raw, owner.keys)
        elif action == "D":
            new = values.dummy(one.vr, keyword, len(raw), self.encoding)
        else:
            new = values.cleaned(
                raw, one.vr, charset, owner.profile, owner.identifiers, owner.shift_days, keyword=keyword
            )
            if not new and raw and required:
                new = values.dummy(one.vr, keyword, len(raw), self.encoding)
        return encoded(one.tag, one.vr, new, self.encoding)

    def _sequence(self, one: Element, keyword: str, charset: str, mode: str) -> bytes:
        outer, self.encoding = self.encoding, inner_encoding(self.data, one, self.encoding)
        try:
            contents = []
            for start, end in items(self.data, one, self.encoding):
                found = list(elements(self.data, start, end, self.encoding))
                chunks = self.dataset(found, keyword, charset, mode)
                if one.tag == _CONTENT:
                    new = self.owner.content.item(self, found, chunks, charset)
                    if new is None:
                        continue
                    chunks = new
                contents.append((chunks, self.encoding))
            body = [b"".join(chunks[tag] for tag in sorted(chunks)) for chunks, _ in contents]
            if one.tag == _CONTENT and not body:
                return b""
            if self.encoding != outer:  # a sequence of VR UN stays one
                return encoded(one.tag, "UN", sequence_of(one.tag, body, self.encoding)[8:], outer)
            return sequence_of(one.tag, body, self.encoding)
        finally:
            self.encoding = outer

    def _private(self, one: Element, creators: dict[int, str]) -> bytes:
        if one.tag & 0xFF00 == 0:
            return self.data[one.start : one.end] if creators[one.tag] in self.owner.profile.private else b""
        creator = creators.get(one.tag & 0xFFFF0000 | one.tag >> 8 & 0xFF, "")
        safe = self.owner.profile.private.get(creator, frozenset())
        if (one.tag >> 16, one.tag & 0xFF) not in safe or one.vr == "SQ":
            self.counts["PrivateAttributes", "X"] += 1
            return b""
        if self.owner.identifiers.left_in(self.data[one.value : one.end]):
            self.counts["PrivateAttributes", "X"] += 1
            return b""
        return self.data[one.start : one.end]

    @staticmethod
    def _drop_idle_creators(chunks: dict[int, bytes]) -> None:
        used = {tag & 0xFFFF0000 | tag >> 8 & 0xFF for tag in chunks if tag >> 16 & 1 and tag & 0xFF00}
        for tag in [one for one in chunks if one >> 16 & 1 and one & 0xFF00 == 0 and one not in used]:
            del chunks[tag]
