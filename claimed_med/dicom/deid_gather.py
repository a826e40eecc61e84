"""Look through all objects of a patient once: who is named in them, and which objects belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from claimed_med.dicom.deid_identifiers import Identifiers
from claimed_med.dicom.deid_profile import Plan
from claimed_med.dicom.deid_values import decoded
from claimed_med.dicom.elements import Encoding, elements, inner_encoding, items, open_bytes, vr_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from claimed_med.dicom.deid_profile import Profile

# Attributes beside PN whose values name a person, a place or a case.
_VALUES = {
    0x00080050: "AccessionNumber",
    0x00080080: "InstitutionName",
    0x00080081: "InstitutionAddress",
    0x00080092: "ReferringPhysicianAddress",
    0x00080094: "ReferringPhysicianTelephoneNumbers",
    0x00081010: "StationName",
    0x00081040: "InstitutionalDepartmentName",
    0x00100020: "PatientID",
    0x00100021: "IssuerOfPatientID",
    0x00101000: "OtherPatientIDs",
    0x00101040: "PatientAddress",
    0x00101050: "InsurancePlanIdentification",
    0x00101080: "MilitaryRank",
    0x00101090: "MedicalRecordLocator",
    0x00102154: "PatientTelephoneNumbers",
    0x00102155: "PatientTelecomInformation",
    0x00321021: "ScheduledStudyLocationAETitle",
    0x00380010: "AdmissionID",
    0x00380060: "ServiceEpisodeID",
    0x00400009: "ScheduledProcedureStepID",
    0x00401001: "RequestedProcedureID",
    0x00401103: "PersonTelephoneNumbers",
    0x00401102: "PersonAddress",
    0x00402016: "PlacerOrderNumberImagingServiceRequest",
    0x00402017: "FillerOrderNumberImagingServiceRequest",
    0x00402008: "OrderEntererLocation",
    0x00402010: "OrderCallbackPhoneNumber",
}
_NAMES = frozenset({0x00101001, 0x00101005, 0x00101060, 0x00102297})
_BULK = frozenset({0x52009229, 0x52009230, 0x00081115, 0x00081140, 0x00082112})
_CHARSET = 0x00080005
HEAD_BYTES = 1 << 17
_PATIENT_ID, _NAME, _BIRTH, _STUDY, _SOP, _CLASS = (
    0x00100020,
    0x00100010,
    0x00100030,
    0x0020000D,
    0x00080018,
    0x00080016,
)


@dataclass(frozen=True)
class Look:
    """What one object says of its patient.

    Attributes:
        patient_key: PatientID; name and birth date where there is none; the study where these are missing too.
        sop_uid: SOPInstanceUID, or ''.
        sop_class: SOP class UID, or ''.
        study_uid: StudyInstanceUID, or ''.
        named: (tag, value): what names a person, a place or a case in it.
    """

    patient_key: str
    sop_uid: str
    sop_class: str
    study_uid: str
    named: tuple[tuple[int, str], ...]


def look(data: bytes) -> Look:
    """Look through one object; pixel data are not needed, so the first bytes of a file will do.

    Raises:
        InputError: The bytes are no DICOM file, or the header is cut off.
    """
    stored = open_bytes(data)
    told: dict[int, str] = {}
    named: list[tuple[int, str]] = []
    _walk(stored.data, stored.start, len(stored.data), stored.encoding, "", told, named)
    parts = [told.get(tag, "") for tag in (_NAME, _BIRTH)]
    key = told.get(_PATIENT_ID) or ("\x1f".join(parts) if any(parts) else f"study {told.get(_STUDY, '')}")
    return Look(
        key,
        told.get(_SOP) or stored.sop_uid,
        told.get(_CLASS) or stored.sop_class,
        told.get(_STUDY, ""),
        tuple(dict.fromkeys(named)),
    )


def look_at_file(path: Path) -> Look:
    """Look through a file, reading no more of it than its header.

    Raises:
        InputError: The file is no DICOM file, or damaged.
        OSError: It cannot be read.
    """
    from claimed_med.errors import InputError

    with path.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
        try:
            return look(head)
        except InputError:
            rest = stream.read()
            if not rest:
                raise
            return look(head + rest)


def gather(looks: Iterable[Look], profile: Profile) -> Identifiers:
    """Everything that names the patient or those around, over all objects.

    Args:
        looks: Of all objects of one patient.
        profile: What it keeps on purpose is no identifier.
    """
    plan = Plan(profile, "")
    found, places, kept = Identifiers(), Identifiers(), Identifiers()
    for tag, value in sorted({pair for one in looks for pair in one.named}):
        if not tag >> 16 & 1 and plan.action(tag, "") == "K":
            kept.add_value(value)
        elif tag == _BIRTH:
            if profile.dates != "K":
                found.add_birth_date(value)
        elif tag in _VALUES:
            (found if tag == _PATIENT_ID else places).add_value(value)
        else:
            found.add_name(value)
    found.words |= places.words - kept.words
    found.phrases |= places.phrases - kept.phrases - kept.words
    return found


def _walk(
    data: bytes,
    start: int,
    end: int,
    encoding: Encoding,
    charset: str,
    told: dict[int, str],
    named: list[tuple[int, str]],
) -> None:
    for one in elements(data, start, end, encoding, before_pixels=True):
        tag = one.tag
        if tag == _CHARSET:
            charset = data[one.value : one.end].decode("latin-1").strip(" \0")
        elif one.vr == "SQ":
            if tag not in _BULK:
                inner = inner_encoding(data, one, encoding)
                for first, last in items(data, one, inner):
                    _walk(data, first, last, inner, charset, {}, named)
        elif "PN" in {one.vr, vr_of(tag)} or tag in _VALUES or tag in _NAMES:
            text = decoded(data[one.value : one.end], charset)[0]
            told.setdefault(tag, text.strip())
            named.extend((tag, part.strip()) for part in text.split("\\") if part.strip())
        elif tag in {_BIRTH, _STUDY, _SOP, _CLASS}:
            told.setdefault(tag, data[one.value : one.end].decode("latin-1").strip(" \0"))
            if tag == _BIRTH:
                named.append((tag, told[tag]))
