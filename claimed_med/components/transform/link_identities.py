"""Make the encrypted link table of a de-identification."""

from __future__ import annotations

from claimed_med.component import component
from claimed_med.handles import DicomCollection, Report


@component(
    version="1.0.0",
    image="network",
    over="patient",
    border=True,
    tags=("de-identification", "privacy", "re-identification"),
    example={"files": "collection"},
)
def link_identities(files: DicomCollection, *, profile: str = "research") -> Report:
    """Make the encrypted link table of a de-identification.

    Which pseudonym is which patient, which new UID which old one, by how many days dates were moved. Everything follows
    from the project's secret, so the table can be made before or after the objects are de-identified. It is sealed with
    CLAIMED_MED_LINK_SECRET (or the file that CLAIMED_MED_LINK_SECRET_FILE names; else with the project's secret): only
    who holds that can read it or run reidentify-dicom with it. Keep it inside the hospital.

    Args:
        files: The original objects, as for deidentify-dicom.
        profile: The profile that is used to de-identify; it decides the date shifts.

    Returns:
        links: The sealed table of each patient.

    Raises:
        ContractError: The profile is unknown or wrong.
    """
    from claimed_med.dicom import deid_links, deid_profile
    from claimed_med.dicom.pseudonyms import keys_from_environment

    keys = keys_from_environment(deid_profile.load(profile).max_shift_days)
    return Report(deid_links.seal(deid_links.collect(files.paths(), keys)))
