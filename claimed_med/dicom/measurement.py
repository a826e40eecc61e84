"""Numbers about segments, with the codes under which they are reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from claimed_med.dicom import codes, seg
from claimed_med.dicom.sr import Measurement
from claimed_med.imaging.measure import statistics

if TYPE_CHECKING:
    from pydicom import Dataset
    from pydicom.sr.coding import Code

    from claimed_med.dicom.series import Series

_QUANTITIES: dict[str, tuple[Code, Code]] = {
    "CT": (codes.ATTENUATION, codes.HOUNSFIELD_UNIT),
    "MR": (codes.SIGNAL_INTENSITY, codes.NO_UNIT),
    "PT": (codes.ACTIVITY_CONCENTRATION, codes.BECQUEREL_PER_MILLILITER),
}
_DERIVATIONS = {
    "mean": codes.MEAN,
    "standard_deviation": codes.STANDARD_DEVIATION,
    "minimum": codes.MINIMUM,
    "median": codes.MEDIAN,
    "maximum": codes.MAXIMUM,
}


def measure(segmentation: Dataset, series: Series) -> list[Measurement]:
    """Measure every segment on the grid of its series.

    Args:
        segmentation: SEG of that series.
        series: The series.

    Returns:
        Volume [mL], largest diameter [mm] and intensity statistics of every segment, in order.
    """
    volume = series.volume()
    quantity = _quantity(series)
    rows: list[Measurement] = []
    for segment in seg.decode(segmentation, series):
        told = statistics(volume.array, segment.mask.array, volume.affine)
        rows.append(Measurement(segment.number, codes.VOLUME, told["volume_ml"], codes.MILLILITER))
        rows.append(Measurement(segment.number, codes.LARGEST_DIAMETER, told["diameter_mm"], codes.MILLIMETER))
        if quantity is not None:
            name, unit = quantity
            rows += [
                Measurement(segment.number, name, told[key], unit, derivation=code)
                for key, code in _DERIVATIONS.items()
            ]
    return rows


def _quantity(series: Series) -> tuple[Code, Code] | None:
    """The physical quantity of the voxels; None when the header does not tell."""
    if series.modality == "PT" and str(series.headers[0].get("Units", "")) != "BQML":
        return None
    return _QUANTITIES.get(series.modality)
