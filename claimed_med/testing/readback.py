"""Read segmentations with dcmqi, a reader that shares no code with ours."""

from __future__ import annotations

import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK

from claimed_med.errors import MissingDependencyError, OutputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt


def voxels_by_dcmqi(path: Path, numbers: Iterable[int], kind: str, folder: Path) -> dict[int, npt.NDArray[np.float64]]:
    """Say where dcmqi finds the voxels of each segment.

    Args:
        path: A DICOM Segmentation.
        numbers: Segment numbers.
        kind: SegmentationType; dcmqi writes a label map into one file.
        folder: Empty folder for its output.

    Returns:
        points: For each number, shape (voxel, 3): LPS [mm].

    Raises:
        MissingDependencyError: dcmqi is not installed.
        OutputError: dcmqi refused the file.
    """
    package = find_spec("dcmqi")
    if package is None or package.origin is None:
        raise MissingDependencyError("dcmqi", "the reader is not installed", do="run: pip install dcmqi")
    program = Path(package.origin).parent / "bin" / "segimage2itkimage"
    command = [program, "--inputDICOM", path, "--outputDirectory", folder, "--prefix", "segment", "-t", "nrrd"]
    finished = subprocess.run([str(part) for part in command], capture_output=True, check=False)
    if finished.returncode:
        raise OutputError("dcmqi", "refused the segmentation", got=f"exit code {finished.returncode}")
    return {number: _points(folder, number, is_label_map=kind == "LABELMAP") for number in numbers}


def _points(folder: Path, number: int, *, is_label_map: bool) -> npt.NDArray[np.float64]:
    image = SimpleITK.ReadImage(str(folder / f"segment-{1 if is_label_map else number}.nrrd"))
    array = SimpleITK.GetArrayFromImage(image)
    columns = np.argwhere(array == number if is_label_map else array > 0)[:, ::-1]
    lps_from_index = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    return np.asarray(columns @ lps_from_index.T + image.GetOrigin())
