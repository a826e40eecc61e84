"""Take the patient out of DICOM objects."""

from __future__ import annotations

from typing import NamedTuple

from claimed_med.component import component
from claimed_med.handles import DicomCollection, Report


class DeidentifyDicomOutputs(NamedTuple):
    """What deidentify_dicom returns."""

    deidentified: DicomCollection
    audit: Report


@component(
    version="1.0.0",
    over="patient",
    border=True,
    tags=("de-identification", "privacy", "PS3.15"),
    example={"files": "collection"},
)
def deidentify_dicom(files: DicomCollection, *, profile: str = "research") -> DeidentifyDicomOutputs:
    """Take the patient out of DICOM objects of every class.

    The whole of PS3.15 Table E.1-1 with its options, sequences, private blocks, structured content and overlays; free
    text keeps its clinical words; burned-in text is blacked out. Pseudonyms, UIDs and date shifts are derived with the
    project's secret (CLAIMED_MED_SECRET, or the file that CLAIMED_MED_SECRET_FILE names): the same over files, runs and
    machines, irreversible without it. A file that cannot be cleaned is refused and listed; it is never passed on.

    Args:
        files: DICOM objects of any class; each patient is one unit of work.
        profile: `research`, `strict`, or the text of a profile in TOML.

    Returns:
        deidentified: One object a file, named by its new SOPInstanceUID.
        audit: Which action on which attribute how often, refused files by keyed hash, pixels that were looked at.

    Raises:
        ContractError: The profile is unknown or wrong.
        InputError: No file of the patient could be de-identified.

    Source:
        DICOM PS3.15 2026d, Annex E.
    """
    from claimed_med import scratch
    from claimed_med.component import state
    from claimed_med.dicom import deid_audit, deid_profile
    from claimed_med.dicom.deid_files import deidentify_files
    from claimed_med.dicom.pseudonyms import keys_from_environment
    from claimed_med.errors import InputError

    chosen = deid_profile.load(profile)
    keys = keys_from_environment(chosen.max_shift_days)
    place = scratch.temporary()
    outcomes = deidentify_files(files.paths(), profile, place)
    audit = deid_audit.report(chosen, outcomes, secret_is_short=keys.is_short)
    collection = DicomCollection.from_files({one.name: place / one.name for one in outcomes if one.name})
    collection.final = True
    scratch.remove_with(collection, place)
    if not collection.files:
        raise InputError("deidentify-dicom", "no file could be de-identified", got=f"{len(outcomes)} refused")
    state(n_refused=str(audit["n_refused"]), profile=chosen.name)
    return DeidentifyDicomOutputs(collection, Report(audit, html=deid_audit.page(audit)))
