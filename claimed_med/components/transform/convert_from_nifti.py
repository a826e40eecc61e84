"""Convert a NIfTI volume to a DICOM series."""

from __future__ import annotations

from claimed_med.component import component
from claimed_med.handles import DicomSeries, Nifti


@component(
    version="1.0.0",
    over="series",
    tags=("nifti", "import"),
    example={"nifti": "convert-to-nifti:nifti", "reference": "head_mr"},
)
def convert_from_nifti(nifti: Nifti, reference: DicomSeries) -> DicomSeries:
    """Convert a NIfTI volume to a DICOM series of the same study.

    Patient, study and technique are those of the reference, whose frame of reference the volume must share: its voxels
    must lie where the reference lies. Values are stored in 16 bits, with a rescale where they need one.

    Args:
        nifti: A volume made from the reference, on any grid.
        reference: The series from which it was made.

    Returns:
        converted: Derived images, one a slice, that refer to the reference.

    Raises:
        InputError: The volume does not overlap the reference, or its geometry is not stated.
    """
    from claimed_med.dicom import image
    from claimed_med.imaging.grid import require_overlap

    source, volume = reference.load(), nifti.load()
    require_overlap("convert-from-nifti", volume, source.volume())
    return DicomSeries(image.encode(volume, source=source, description="Converted from NIfTI"))
