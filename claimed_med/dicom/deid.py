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
from claimed_med.dicom.deid_content import CONTENT_SEQUENCES, ContentRules
from claimed_med.dicom.deid_leaf import Leaves, is_valid, kind_of
from claimed_med.dicom.deid_profile import Plan, Profile
from claimed_med.dicom.elements import (
    DICOMDIR,
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
    vr_of,
)
from claimed_med.dicom.file_bytes import file_of
from claimed_med.errors import RefusedError

if TYPE_CHECKING:
    from claimed_med.dicom.deid_identifiers import Identifiers
    from claimed_med.dicom.pseudonyms import Keys

_SOP_CLASS, _SOP_INSTANCE, _CHARSET = 0x00080016, 0x00080018, 0x00080005
_CONTENT, _PADDING, _SIGNATURES = 0x0040A730, 0xFFFCFFFC, 0xFFFAFFFA
_CURVES, _OVERLAYS = 0x50, 0x60
_FIRST_GROUP = 0x0008  # lower ones are of commands, file meta information and directories
_CREATORS = range(0x10, 0x100)
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
        self.leaves = Leaves(identifiers)
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
        if sop_class == DICOMDIR:
            raise RefusedError("de-identification", "a DICOMDIR lists names and paths", do="make a new one afterwards")
        walk = _Walk(self, stored.data, stored.encoding, self._plan(sop_class), counts)
        chunks = walk.dataset(list(top.values()), "", "")
        if self._left(chunks):
            walk.sweeps = True
            counts.clear()
            chunks = walk.dataset(list(top.values()), "", "")
            if self._left(chunks) and not walk.n_spared:
                raise RefusedError("de-identification", "an identifier is left that cannot be taken out")
        sop_uid = self._text_of(chunks.get(_SOP_INSTANCE, b""), stored.encoding)
        if not sop_uid:
            told = stored.sop_uid if self.profile.has("retain_uids") else self.keys.uid(stored.sop_uid)
            sop_uid = told or self.keys.uid(f"without identifier {self.keys.name('content', data)}")
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
        self.sweeps = False  # True: also look for identifiers in the bytes of values that are otherwise kept
        self.n_spared = 0  # values that stay although they hold an identifier, because the profile says so

    def dataset(self, found: list[Element], sequence: str, charset: str, mode: str = "") -> dict[int, bytes]:
        """The new elements of a data set or item, by tag."""
        own = next((one for one in found if one.tag == _CHARSET), None)
        if own is not None:
            charset = self._text(own)
        creators = {one.tag: self._text(one) for one in found if one.tag >> 16 & 1 and one.tag & 0xFFFF in _CREATORS}
        chunks: dict[int, bytes] = {}
        for one in found:
            tag = one.tag
            if tag & 0xFFFF == 0 or tag in {_PADDING, _SIGNATURES}:
                continue
            if tag in PIXEL_DATA and not sequence:
                chunks[tag] = self.data[one.start : one.end]
                continue
            if tag >> 16 & 1:
                chunk = self._private(one, creators, charset)
            elif tag in PIXEL_DATA or tag >> 24 in {_CURVES, _OVERLAYS} or tag >> 16 < _FIRST_GROUP:
                chunk = self._removed(one)
            else:
                chunk = self._standard(one, sequence, charset, mode)
            if chunk:
                chunks[tag] = chunk
        self._drop_idle_creators(chunks)
        return chunks

    def _standard(self, one: Element, sequence: str, charset: str, mode: str) -> bytes:
        action = self.plan.action(one.tag, sequence)
        kind = kind_of(one.tag, one.vr)
        if mode == _DUMMY and action in {"K", "C"} and kind in values.TEXT:
            action = "D"
        if not kind and action in {"K", "C", "U", "P"}:
            return self._replaced(one, sequence)
        if action == "K" and kind != "SQ":
            return self._kept(one, kind, charset, sequence)
        if action != "K":
            self.counts[keyword_of(one.tag), action] += 1
        if action == "X":
            return b""
        if action == "Z":
            return encoded(one.tag, one.vr, b"", self.encoding)
        if kind == "SQ":
            return self._sequence(one, keyword_of(one.tag), charset, _DUMMY if action == "D" else mode)
        return self._changed(one, kind, action, charset, sequence)

    def _kept(self, one: Element, kind: str, charset: str, sequence: str) -> bytes:
        raw = self.data[one.value : one.end]
        if self.owner.profile.exceptions.get(one.tag) == "K":
            self.n_spared += self.sweeps
            return self._as_it_was(one)
        new = self.owner.leaves.stays(raw, one.tag, kind, charset)
        if new is None or (self.sweeps and self.owner.identifiers.left_in(new)):
            return self._replaced(one, sequence)
        if new is raw or new == raw:
            return self._as_it_was(one)
        self.counts[keyword_of(one.tag), "C"] += 1
        return encoded(one.tag, one.vr, new, self.encoding) if new else self._replaced(one, sequence)

    def _as_it_was(self, one: Element) -> bytes:
        if one.vr == "UN" and not self.encoding.implicit:  # the VR that stands there may be none
            return encoded(one.tag, "UN", self.data[one.value : one.end], self.encoding)
        return self.data[one.start : one.end]

    def _removed(self, one: Element) -> bytes:
        self.counts[keyword_of(one.tag), "X"] += 1
        return b""

    def _replaced(self, one: Element, sequence: str) -> bytes:
        """Take out a value of which no rule knows what it is: a dummy where the attribute must have a value."""
        kind = self.plan.type(one.tag, "")
        if sequence or kind in {"1", "1C"}:
            self.counts[keyword_of(one.tag), "D"] += 1
            vr = vr_of(one.tag)
            if vr == "SQ":
                return sequence_of(one.tag, [], self.encoding)
            return encoded(one.tag, vr, self._dummy(one, vr), self.encoding)
        if kind in {"2", "2C"}:
            self.counts[keyword_of(one.tag), "Z"] += 1
            return encoded(one.tag, vr_of(one.tag), b"", self.encoding)
        return self._removed(one)

    def _dummy(self, one: Element, vr: str) -> bytes:
        return values.dummy(vr, keyword_of(one.tag), self.data[one.value : one.end], self.encoding)

    def _changed(self, one: Element, kind: str, action: str, charset: str, sequence: str) -> bytes:
        owner, keyword = self.owner, keyword_of(one.tag)
        raw = self.data[one.value : one.end]
        if action == "P":
            new = owner.pseudonym.encode()
        elif action == "U":
            new = values.renamed(raw, owner.keys)
        elif action == "D":
            new = self._dummy(one, kind or vr_of(one.tag))
        else:
            new = values.cleaned(
                raw, kind, charset, owner.profile, owner.identifiers, owner.shift_days, keyword=keyword
            )
            if not is_valid(new, kind) or (self.sweeps and owner.identifiers.left_in(new)):
                new = b""
            required = bool(sequence) or self.plan.type(one.tag, "") in {"1", "1C"}
            if not new and raw and required:
                new = self._dummy(one, kind)
        return encoded(one.tag, one.vr if kind else vr_of(one.tag), new, self.encoding)

    def _sequence(self, one: Element, keyword: str, charset: str, mode: str) -> bytes:
        outer, self.encoding = self.encoding, inner_encoding(self.data, one, self.encoding)
        try:
            contents = []
            for start, end in items(self.data, one, self.encoding):
                found = list(elements(self.data, start, end, self.encoding))
                chunks = self.dataset(found, keyword, charset, mode)
                if one.tag in CONTENT_SEQUENCES:
                    new = self.owner.content.item(self, found, chunks, charset)
                    if new is None:
                        continue
                    chunks = new
                contents.append(b"".join(chunks[tag] for tag in sorted(chunks)))
            if one.tag == _CONTENT and not contents:
                return b""
            if self.encoding != outer:  # a sequence of VR UN stays one
                return encoded(one.tag, "UN", sequence_of(one.tag, contents, self.encoding)[8:], outer)
            return sequence_of(one.tag, contents, self.encoding)
        finally:
            self.encoding = outer

    def _private(self, one: Element, creators: dict[int, str], charset: str) -> bytes:
        private = self.owner.profile.private
        if one.tag & 0xFFFF in _CREATORS:
            return self.data[one.start : one.end] if creators[one.tag] in private else b""
        creator = creators.get(one.tag & 0xFFFF0000 | one.tag >> 8 & 0xFF, "")
        if (one.tag >> 16, one.tag & 0xFF) in private.get(creator, frozenset()) and (
            self.owner.leaves.is_safe_private(self.data[one.value : one.end], one.vr, charset)
        ):
            return self._as_it_was(one)
        self.counts["PrivateAttributes", "X"] += 1
        return b""

    def _text(self, one: Element) -> str:
        return self.data[one.value : one.end].decode("latin-1").strip(" \0")

    @staticmethod
    def _drop_idle_creators(chunks: dict[int, bytes]) -> None:
        used = {tag & 0xFFFF0000 | tag >> 8 & 0xFF for tag in chunks if tag >> 16 & 1 and tag & 0xFF00}
        for tag in [one for one in chunks if one >> 16 & 1 and one & 0xFF00 == 0 and one not in used]:
            del chunks[tag]
