"""Convert a series to NIfTI."""

from __future__ import annotations

from claimed_med.component import component
from claimed_med.handles import DicomSeries, Nifti


@component(version="1.0.0", over="series", tags=("nifti", "export"), example={"series": "head_mr"})
def convert_to_nifti(series: DicomSeries) -> Nifti:
    """Convert a series to NIfTI.

    Voxels are in real units (HU for CT) and are not resampled; sform and qform hold the exact place. The same series
    gives the same bytes.

    Args:
        series: One series of any modality.

    Returns:
        nifti: `volume.nii.gz`; axes (column, row, slice), affine index -> RAS [mm].

    Raises:
        InputError: Not a volume.
    """
    return Nifti(series.load().volume())
