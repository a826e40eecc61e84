"""Synthetic DICOM: small, valid, deterministic, with planted patient attributes that must never be seen elsewhere.

`EXAMPLES` maps the names that components use in `example=` to functions that fill a folder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
)

from claimed_med.dicom.uid import to_bytes, uid_from
from claimed_med.testing import credit, predictions, xrays

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

Array = npt.NDArray[Any]
PLANTED = {
    "PatientName": "PLANTED^ZEBEDEE",
    "PatientID": "PLANTED-4711",
    "PatientBirthDate": "19610411",
    "AccessionNumber": "PLANTEDACC9",
    "InstitutionName": "PLANTED CLINIC",
    "ReferringPhysicianName": "PLANTED^REFERRER",
}
NATIVE = {"implicit": ImplicitVRLittleEndian, "explicit": ExplicitVRLittleEndian, "big": ExplicitVRBigEndian}
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def write_series(
    folder: Path,
    stored: Array,
    *,
    positions: Sequence[Sequence[float]] | None = None,
    orientation: Sequence[float] = AXIAL,
    spacing_mm: Sequence[float] = (2.5, 1.0, 1.0),
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    modality: str = "CT",
    name: str = "series",
    slopes: Sequence[float] | None = None,
    intercept: float = 0.0,
    syntax: str = "explicit",
    reverse_numbers: bool = False,
    attributes: dict[str, Any] | None = None,
    changes: Callable[[Dataset, int], None] | None = None,
) -> list[Path]:
    """Write one single-frame object per slice; file names say nothing about the order.

    Args:
        folder: Made when it is not there.
        stored: Stored values, int16 or uint16, shape (slice, row, column).
        positions: ImagePositionPatient of each slice; by default evenly along the normal from `origin`.
        orientation: ImageOrientationPatient.
        spacing_mm: Between slices, rows and columns [mm].
        origin: Position of the first slice [mm].
        modality: `CT` or `MR`.
        name: Decides all UIDs.
        slopes: RescaleSlope of each slice; none is written for MR when left out.
        intercept: RescaleIntercept.
        syntax: `implicit`, `explicit`, `big`, or a transfer syntax UID to compress with.
        reverse_numbers: Whether InstanceNumber counts against the position.
        attributes: Set on every object.
        changes: Called with every object and its index before it is written.

    Returns:
        The files, in slice order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if positions is None:
        step = np.cross(orientation[:3], orientation[3:]) * spacing_mm[0]
        positions = [tuple(np.asarray(origin) + step * index) for index in range(len(stored))]
    paths = []
    for index, plane in enumerate(stored):
        number = len(stored) - index if reverse_numbers else index + 1
        dataset = _image(plane, modality, name, index, number)
        dataset.ImagePositionPatient = [round(float(value), 6) for value in positions[index]]
        dataset.ImageOrientationPatient = list(orientation)
        dataset.PixelSpacing = list(spacing_mm[1:])
        dataset.SliceThickness = spacing_mm[0]
        if slopes is not None or modality == "CT":
            dataset.RescaleSlope = 1.0 if slopes is None else slopes[index]
            dataset.RescaleIntercept = intercept
            dataset.RescaleType = "HU"
        for keyword, value in (attributes or {}).items():
            setattr(dataset, keyword, value)
        if changes is not None:
            changes(dataset, index)
        path = folder / f"{uid_from(name, 'file', str(index))[-12:]}.dcm"
        _write(dataset, path, syntax)
        paths.append(path)
    return paths


def _write(dataset: Dataset, path: Path, syntax: str) -> None:
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = NATIVE.get(syntax, ExplicitVRLittleEndian)
    if syntax == "big":
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").byteswap().tobytes()
    if syntax not in NATIVE:
        dataset.compress(syntax, generate_instance_uid=False)
    path.write_bytes(to_bytes(dataset))


def _image(plane: Array, modality: str, name: str, index: int, number: int) -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    dataset.SOPInstanceUID = uid_from(name, "instance", str(index))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid_from(name, "study"), uid_from(name, "series")
    dataset.FrameOfReferenceUID = uid_from(name, "frame of reference")
    _describe(dataset, modality, number)
    _technique(dataset, modality)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = plane.shape
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(plane.dtype.kind == "i")
    dataset.PixelData = np.ascontiguousarray(plane).tobytes()
    return dataset


def _describe(dataset: Dataset, modality: str, number: int) -> None:
    for keyword, value in PLANTED.items():
        setattr(dataset, keyword, value)
    dataset.PatientSex, dataset.StudyID, dataset.Modality = "F", "1", modality
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20240229"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "101112"
    dataset.Manufacturer, dataset.SeriesNumber, dataset.InstanceNumber = "Phantom", 1, number
    dataset.AcquisitionNumber, dataset.PositionReferenceIndicator, dataset.PatientPosition = 1, "", "HFS"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if modality == "CT" else "OTHER"]
    dataset.Laterality = ""


def _technique(dataset: Dataset, modality: str) -> None:
    if modality == "CT":
        dataset.KVP = 120.0
        return
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "GR", "NONE", ""
    dataset.MRAcquisitionType, dataset.RepetitionTime, dataset.EchoTime = "3D", 9.0, 4.0
    dataset.EchoTrainLength, dataset.EchoNumbers, dataset.FlipAngle = 1, 1, 10.0


def enhanced_mr(folder: Path, stored: Array, *, positions: Sequence[Sequence[float]], indices: Sequence[int]) -> Path:
    """Write one Enhanced MR object.

    Args:
        folder: Made when it is not there.
        stored: Shape (frame, row, column), uint16.
        positions: ImagePositionPatient of each frame.
        indices: TemporalPositionIndex of each frame.
    """
    folder.mkdir(parents=True, exist_ok=True)
    dataset = _image(stored[0], "MR", "enhanced", 0, 1)
    dataset.SOPClassUID = EnhancedMRImageStorage
    dataset.NumberOfFrames, dataset.PixelData = len(stored), np.ascontiguousarray(stored).tobytes()
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [Dataset()], [Dataset()]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = list(AXIAL)
    shared.PixelMeasuresSequence[0].PixelSpacing = [1.0, 1.0]
    shared.PixelMeasuresSequence[0].SliceThickness = 2.5
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for position, index in zip(positions, indices, strict=True):
        group = Dataset()
        group.PlanePositionSequence, group.FrameContentSequence = [Dataset()], [Dataset()]
        group.PlanePositionSequence[0].ImagePositionPatient = [float(value) for value in position]
        group.FrameContentSequence[0].TemporalPositionIndex = index
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    path = folder / "enhanced.dcm"
    _write(dataset, path, "explicit")
    return path


def chest_values(shape: Sequence[int] = (32, 80, 96), *, lungs: bool = True) -> Array:
    """HU of a chest: body about 20, two lungs about -850, air outside -1000, a table; int16.

    Rows run from front to back and columns from the patient's right to left, as in an axial image.
    """
    z, y, x = (np.linspace(-1, 1, size, dtype=np.float64)[index] for size, index in zip(shape, _axes(), strict=True))
    values = np.full(tuple(shape), -1000.0)
    values[(x / 0.85) ** 2 + (y / 0.72) ** 2 + 0 * z < 1] = 20.0
    values[np.broadcast_to((np.abs(y - 0.9) < 0.04) & (np.abs(x) < 0.9), values.shape)] = 100.0
    if lungs:
        for side, width in ((-0.4, 0.30), (0.4, 0.27)):
            values[((x - side) / width) ** 2 + (y / 0.5) ** 2 + (z / 0.85) ** 2 < 1] = -850.0
    noise = np.random.default_rng(7).normal(0, 8, values.shape)
    return np.asarray(np.round(values + noise), np.int16)


def head_values(shape: Sequence[int] = (40, 64, 56)) -> Array:
    """MR signal of a head: scalp, dark skull, brain with two tissues; uint16."""
    z, y, x = (np.linspace(-1, 1, size, dtype=np.float64)[index] for size, index in zip(shape, _axes(), strict=True))
    radius = np.sqrt((x / 0.78) ** 2 + (y / 0.9) ** 2 + (z / 0.85) ** 2)
    values = np.zeros(radius.shape)
    values[radius < 1] = 600.0
    values[radius < 0.93] = 60.0
    values[radius < 0.85] = 380.0
    values[radius < 0.6] = 520.0
    noise = np.abs(np.random.default_rng(11).normal(0, 12, values.shape))
    return np.asarray(np.round(values + noise), np.uint16)


def _axes() -> tuple[Any, ...]:
    return (np.s_[:, None, None], np.s_[None, :, None], np.s_[None, None, :])


def chest_ct(folder: Path) -> Path:
    """One axial chest CT, 32 slices of 80 x 96."""
    write_series(
        folder, chest_values(), spacing_mm=(8.0, 4.0, 4.0), origin=(-190, -160, -500), name="chest", intercept=0
    )
    return folder


def empty_chest_ct(folder: Path) -> Path:
    """A chest CT without lungs."""
    values = chest_values(lungs=False)
    write_series(folder, values, spacing_mm=(8.0, 4.0, 4.0), origin=(-190, -160, -500), name="no lungs")
    return folder


def head_mr(folder: Path) -> Path:
    """One axial head MR, 40 slices of 64 x 56."""
    write_series(folder, head_values(), spacing_mm=(4.0, 3.5, 3.5), origin=(-98, -112, -60), modality="MR", name="head")
    return folder


def collection(folder: Path) -> Path:
    """A folder as it comes from a CD: two studies, a localizer, a refused series, junk and a text file."""
    chest_ct(folder / "IMAGES" / "CT")
    head_mr(folder / "IMAGES" / "MR")
    scout = chest_values()[:1]
    write_series(
        folder / "IMAGES" / "CT",
        scout,
        orientation=CORONAL,
        name="scout",
        attributes={"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
    )
    gap = [(0, 0, 2.5 * index) for index in (0, 1, 2, 4, 5, 6)]
    write_series(folder / "GAP", chest_values()[:6], positions=gap, name="gap")
    (folder / "README.TXT").write_text("Viewer for PLANTED^ZEBEDEE: start autorun.exe\n")
    (folder / "autorun.exe").write_bytes(b"MZ\x00\x01" * 64)
    return folder


def brain_mr(folder: Path) -> Path:
    """The MNI152 template at 2 mm with a made skull: what a brain network recognises."""
    from claimed_med.testing.brain_study import write_head

    return write_head(folder, step=2)


def segmented_volumes(folder: Path) -> Path:
    """CT volumes with their SEG objects."""
    from claimed_med.testing import volumes

    return volumes.segmented_volumes(folder)


def segmented_cohort(folder: Path) -> Path:
    """The cohort table of `segmented_volumes`."""
    from claimed_med.testing import volumes

    return volumes.segmented_cohort(folder)


def onnx_model(folder: Path) -> Path:
    """An ONNX file."""
    from claimed_med.testing import models

    return models.onnx_model(folder)


def bundle(folder: Path) -> Path:
    """A model that nobody trained; see `claimed_med.testing.models`."""
    from claimed_med.testing import models

    return models.bundle(folder)


def bundle_decision(folder: Path) -> Path:
    """A decision that blesses it; see `claimed_med.testing.models`."""
    from claimed_med.testing import models

    return models.bundle_decision(folder)


def deployment(folder: Path) -> Path:
    """Write the report of a deployment; see `claimed_med.testing.models`."""
    from claimed_med.testing import models

    return models.deployment(folder, "b" * 64)


def earlier_deployment(folder: Path) -> Path:
    """Write the report of the deployment before; see `claimed_med.testing.models`."""
    from claimed_med.testing import models

    return models.deployment(folder, "a" * 64)


def blessed_decision(folder: Path) -> Path:
    """A decision that blesses the example of train-classifier."""
    from claimed_med.testing import models

    return models.blessed_decision(folder)


EXAMPLES: dict[str, Callable[[Path], Path]] = {
    "chest_ct": chest_ct,
    "empty_chest_ct": empty_chest_ct,
    "head_mr": head_mr,
    "brain_mr": brain_mr,
    "collection": collection,
    "xrays": xrays.xrays,
    "labels": xrays.labels,
    "segmented_volumes": segmented_volumes,
    "segmented_cohort": segmented_cohort,
    "credit": credit.credit,
    "predictions_before": predictions.reference,
    "predictions_now": predictions.deployed,
    "site_results": predictions.site_results,
    "site_places": predictions.site_places,
    "onnx_model": onnx_model,
    "blessed_decision": blessed_decision,
    "bundle": bundle,
    "bundle_decision": bundle_decision,
    "deployment": deployment,
    "earlier_deployment": earlier_deployment,
}


def write(name: str, folder: Path) -> Path:
    """Make the example of that name in a folder.

    Raises:
        KeyError: There is no such example.
    """
    return EXAMPLES[name](folder)
