"""Small made series for the tests of writing: headers and a known grid, no files."""

from __future__ import annotations

from dataclasses import dataclass, field

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage, PositronEmissionTomographyImageStorage
from scipy.spatial.transform import Rotation

from claimed_med.testing.readback import voxels_by_dcmqi

SHAPE = (12, 20, 24)
SPACING = (2.5, 0.8, 0.7)
SOP_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
X, Y, Z = np.eye(3)
TURN = Rotation.from_euler("xyz", [20, -15, 33], degrees=True).as_matrix()
ORIENTATIONS = {  # slice axis, row axis (down), column axis (along), LPS
    "axial": (Z, Y, X),
    "axial descending": (-Z, Y, X),
    "axial mirrored": (Z, X, -Y),
    "sagittal": (X, -Z, Y),
    "sagittal descending": (-X, -Z, Y),
    "coronal": (Y, -Z, X),
    "coronal descending": (-Y, -Z, X),
    "oblique": tuple(TURN @ axis for axis in (Z, Y, X)),
    "oblique descending": tuple(TURN @ axis for axis in (-Z, Y, X)),
}


@dataclass
class MadeSeries:
    """What the encoders read of a `Series`."""

    headers: tuple[Dataset, ...]
    affine: np.ndarray
    shape: tuple[int, int, int]
    frames: dict[str, tuple[int, ...]] | None = None
    key: str = "0123456789abcdef"
    array: np.ndarray = field(init=False)

    def __post_init__(self):
        self.array = np.arange(np.prod(self.shape), dtype=np.int16).reshape(self.shape)

    def volume(self):
        frame_of_reference = self.headers[0].get("FrameOfReferenceUID")
        return hd.Volume(self.array, self.affine, "PATIENT", frame_of_reference_uid=frame_of_reference)


@pytest.fixture
def made_series():
    """A function that makes a series of single-frame headers in an orientation."""
    return make_series


def make_series(orientation="axial", *, shape=SHAPE, spacing=SPACING, modality="CT", jitter_mm=0.0, **attributes):
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack(ORIENTATIONS[orientation]) * spacing
    affine[:3, 3] = (-30.0, 12.5, 100.25)
    noise = np.random.default_rng(0).uniform(-jitter_mm, jitter_mm, (shape[0], 3))
    headers = tuple(
        _header(affine, shape, spacing, modality, index, noise[index], attributes) for index in range(shape[0])
    )
    return MadeSeries(headers, affine, shape)


def _header(affine, shape, spacing, modality, index, noise, attributes):
    header = Dataset()
    header.SOPClassUID, header.SOPInstanceUID = SOP_CLASSES[modality], f"1.2.3.4.{index + 1}"
    header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = "1.2.3.1", "1.2.3.2", "1.2.3.3"
    header.Modality, header.Manufacturer = modality, "Maker"
    header.PatientName, header.PatientID, header.PatientBirthDate = "Made^Up", "P1", "19600102"
    header.PatientSex, header.StudyID, header.AccessionNumber = "F", "S1", "A1"
    header.StudyDate, header.StudyTime, header.AcquisitionDate, header.AcquisitionTime = (
        "20200102", "0304", "20200103", "040506.5",
    )  # fmt: skip
    header.Rows, header.Columns, header.InstanceNumber = shape[1], shape[2], index + 1
    header.ImageOrientationPatient = [
        *np.round(affine[:3, 2] / spacing[2], 12),
        *np.round(affine[:3, 1] / spacing[1], 12),
    ]
    header.ImagePositionPatient = [round(float(v), 8) for v in affine[:3, 3] + index * affine[:3, 0] + noise]
    header.PixelSpacing, header.SliceThickness = [spacing[1], spacing[2]], spacing[0]
    for keyword, value in attributes.items():
        if value is None:
            header.pop(keyword, None)
        else:
            setattr(header, keyword, value)
    return header


@pytest.fixture
def two_boxes():
    """Labels of two boxes and one single voxel, nothing symmetric."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:6, 3:9, 4:15] = 1
    labels[5:8, 10:14, 12:20] = 2
    labels[8, 15, 20] = 2
    return labels


@pytest.fixture
def read_by_dcmqi(tmp_path):
    """A function that reads a segmentation file with dcmqi: segment number -> LPS of its voxels [mm]."""

    def read(path, numbers, kind):
        folder = tmp_path / "dcmqi"
        folder.mkdir(exist_ok=True)
        return voxels_by_dcmqi(path, numbers, kind, folder)

    return read
