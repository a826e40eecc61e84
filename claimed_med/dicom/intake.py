"""What load_folder does: name every object by its identifier, and account for every file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from claimed_med.dicom.scan import Scan, VolumeEntry, scan
from claimed_med.errors import InputError, name_of
from claimed_med.handles import DicomCollection
from claimed_med.units import named_files

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Intake:
    """What was taken over, and the report on it."""

    collection: DicomCollection
    report: dict[str, Any]


def take_over(path: Path) -> Intake:
    """Scan a folder and name its DICOM objects.

    Args:
        path: Folder or file.

    Raises:
        InputError: There is no DICOM object.
    """
    found = scan(path)
    files: dict[Path, str] = {}
    for volume in found.volumes:
        files.update(zip(volume.files, volume.sop_uids, strict=True))
    for other in found.others:
        files[other.path] = other.sop_uid
    if not files:
        raise InputError(
            "load-folder", "there is no DICOM object", got=f"{len(found.skipped)} other files", do="check the folder"
        )
    ordered = sorted(files)
    return Intake(
        DicomCollection.from_files(named_files(ordered, [files[one] for one in ordered])), _report(found, files)
    )


def _report(found: Scan, files: dict[Path, str]) -> dict[str, Any]:
    skipped = [
        {"file": name_of(one.path), "finding": one.finding.name, "text": one.finding.text} for one in found.skipped
    ]
    return {
        "n_objects": len(files),
        "n_volumes": len(found.volumes),
        "n_other_objects": len(found.others),
        "n_skipped": len(skipped),
        "volumes": [described(volume) for volume in found.volumes],
        "skipped": sorted(skipped, key=lambda one: (one["file"], one["finding"])),
    }


def described(volume: VolumeEntry) -> dict[str, Any]:
    """One volume for a report: key, modality, counts and findings; no patient attribute."""
    return {
        "key": volume.key,
        "modality": volume.modality,
        "series_uid": volume.series_uid,
        "n_files": len(volume.files),
        "findings": [{"name": one.name, "text": one.text, "numbers": one.numbers} for one in volume.findings],
    }
