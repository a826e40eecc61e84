"""Write maps of a physical quantity as Parametric Map objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import highdicom as hd
import numpy as np
from pydicom.sr.codedict import codes

from claimed_med.dicom import slices
from claimed_med.dicom import source as origin
from claimed_med.dicom.equipment import common_arguments, contribution, maker
from claimed_med.dicom.planes import Planes
from claimed_med.dicom.uid import stamp, uid_from
from claimed_med.errors import ContractError

if TYPE_CHECKING:
    from pydicom.sr.coding import Code

    from claimed_med.dicom.series import Series

SERIES_NUMBER = 9300
LONGEST_LABEL = 16


def encode(
    quantities: hd.Volume,
    *,
    source: Series,
    quantity: Code,
    unit: Code,
    contrast: Literal["QUANTITY", "FILTERED", "NONE"] = "QUANTITY",
) -> hd.pm.ParametricMap:
    """Encode a map of floats as a Parametric Map that refers to every source instance.

    Args:
        quantities: Shape (slice, row, column), float32 in `unit`; affine index -> LPS [mm] in the source's
            frame of reference, on the grid of the source or on any other.
        source: The series that the map was computed from.
        quantity: What the numbers are.
        unit: UCUM code of the numbers.
        contrast: Derived pixel contrast (value 4 of ImageType).

    Returns:
        parametric_map: A valid, complete object; the same call gives the same bytes.

    Raises:
        ContractError: Not three axes, or values that are not finite.
    """
    array = np.asarray(quantities.array, dtype=np.float32)
    if array.ndim != 3:
        raise ContractError("pm.encode", "map has the wrong shape", got=array.shape, allowed="(slice, row, column)")
    if not np.isfinite(array).all():
        raise ContractError("pm.encode", "map holds values that are not finite", do="replace NaN and infinity")
    planes = Planes.on(np.asarray(quantities.affine, dtype=np.float64), array.shape, source)
    made_by = maker()
    seed = ("pm", made_by.name, made_by.version, source.key, quantity.value)
    date, time = origin.content_clock(source)
    low, high = float(array.min()), float(array.max())
    header = origin.clean_header(source)
    with origin.anonymous(header) as made:
        parametric_map = hd.pm.ParametricMap(
            source_images=[planes.stand_in(header)],
            pixel_array=array,
            series_instance_uid=uid_from(*seed),
            series_number=SERIES_NUMBER,
            sop_instance_uid=uid_from(*seed, "instance"),
            instance_number=1,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[_mapping(quantity, unit, low, high)],
            voi_lut_transformations=[
                hd.VOILUTTransformation(
                    window_center=(low + high) / 2, window_width=max(high - low, 1e-6), voi_lut_function="LINEAR_EXACT"
                )
            ],
            content_label="MAP",
            content_description=quantity.meaning[:64],
            series_description=quantity.meaning[:64],
            derived_pixel_contrast=contrast,
            pixel_measures=planes.measures(),
            plane_orientation=planes.orientation_sequence(),
            plane_positions=planes.position_sequences(),
            contributing_equipment=[contribution(made_by)],
            content_date=date,
            content_time=time,
            **common_arguments(made_by),
        )
        made.append(parametric_map)
    parametric_map.Laterality = ""
    slices.add_references(parametric_map, slices.source_planes(source))
    planes.add_derivation(parametric_map, codes.DCM.ImageProcessing)
    stamp([parametric_map], seed="\n".join(seed))
    return parametric_map


def _mapping(quantity: Code, unit: Code, low: float, high: float) -> hd.pm.RealWorldValueMapping:
    return hd.pm.RealWorldValueMapping(
        lut_label=quantity.meaning[:LONGEST_LABEL].strip(),
        lut_explanation=quantity.meaning[:64],
        unit=unit,
        value_range=(low, high),
        slope=1.0,
        intercept=0.0,
        quantity_definition=quantity,
    )
