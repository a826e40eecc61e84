"""Check that de-identified objects may leave, and bless exactly these."""

from __future__ import annotations

from typing import NamedTuple

from claimed_med.component import component
from claimed_med.handles import Decision, DicomCollection, Report


class CheckDeidentificationOutputs(NamedTuple):
    """What check_deidentification returns."""

    decision: Decision
    findings: Report
    verdict: str


@component(
    version="1.0.0",
    tags=("de-identification", "gate"),
    example={"deidentified": "deidentify-dicom:deidentified", "audit": "deidentify-dicom:audit"},
)
def check_deidentification(
    deidentified: DicomCollection, audit: Report, *, profile: str = "research", allow_refused: bool = True
) -> CheckDeidentificationOutputs:
    """Check that de-identified objects may leave, and bless exactly these.

    The objects are read afresh and held against the profile: attributes that must be gone, empty, dummies or
    pseudonyms, original UIDs, unknown private elements, and text that still looks like a date, number or address. The
    decision blesses the digest of these very objects: `store-deidentified` refuses any others.

    Args:
        deidentified: From deidentify-dicom.
        audit: From the same run.
        profile: The profile that was used.
        allow_refused: Whether a collection may leave of which some files were refused (they are not in it).

    Returns:
        decision: `blessed` or `refused`, with the reasons.
        findings: Every finding with its count, and what the audits say.
        verdict: `blessed` or `refused`.

    Raises:
        ContractError: The profile is unknown, or another one was used.
    """
    from claimed_med import lineage
    from claimed_med.blessing import signature_of
    from claimed_med.component import digest_of_input, state
    from claimed_med.dicom import deid_profile
    from claimed_med.dicom.deid_check import check
    from claimed_med.errors import ContractError
    from claimed_med.handles import BLESSED, REFUSED

    chosen = deid_profile.load(profile)
    audits = list(audit.each().values())
    if any(one["profile"] != chosen.as_dict() for one in audits):
        raise ContractError("check-deidentification", "the objects were de-identified with another profile")
    found = check([path for path in deidentified.paths() if path.suffix == ".dcm"], chosen)
    n_refused = sum(one["n_refused"] for one in audits)
    n_expected = sum(one["n_deidentified"] for one in audits)
    reasons = [f"{one['attribute']} {one['what']} ({one['count']} times)" for one in found.as_list()]
    if found.n_files != n_expected:
        reasons.append(f"the audit tells of {n_expected} files, {found.n_files} are here")
    if n_refused and not allow_refused:
        reasons.append(f"{n_refused} files were refused")
    verdict = REFUSED if reasons else BLESSED
    subject = digest_of_input("deidentified")
    policy = lineage.digest(chosen.as_dict())
    signed = signature_of(policy, subject, verdict)
    state(verdict=verdict, policy_sha256=policy, policy_signature=signed)
    named = {"profile": chosen.name, "policy_sha256": policy, "signature": signed}
    content = {"verdict": verdict, "subject": subject, **named, "reasons": reasons}
    report = {"kind": "deidentification", **content, "n_files": found.n_files, "n_refused": n_refused}
    return CheckDeidentificationOutputs(
        Decision(content), Report({**report, "findings": found.as_list()}), verdict
    )
