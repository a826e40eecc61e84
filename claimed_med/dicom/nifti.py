"""NIfTI both ways: the only place besides `models/` where the RAS frame exists."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from claimed_med.errors import ContractError, InputError, name_of

if TYPE_CHECKING:
    from pathlib import Path

    import highdicom as hd
    import numpy.typing as npt

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
REVERSED = [2, 1, 0, 3]
SCANNER = 1
COMPRESSION = 1  # level 6 takes three times as long for a few per cent
INTEGERS = ("uint8", "int16", "uint16", "int32")


def write(volume: hd.Volume, path: Path) -> Path:
    """Write a volume as NIfTI-1, compressed where the name ends in `.gz`; the same volume gives the same bytes.

    Args:
        volume: Shape (slice, row, column), affine index -> LPS [mm].
        path: `*.nii` or `*.nii.gz`; axes in the file are (column, row, slice), affine index -> RAS [mm].

    Raises:
        ContractError: Not three axes, or a type that NIfTI does not have.
    """
    array = _storable(np.asarray(volume.array))
    affine = RAS_FROM_LPS @ np.asarray(volume.affine, dtype=np.float64)[:, REVERSED]
    image = nibabel.Nifti1Image(array.transpose(2, 1, 0), affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(affine, code=SCANNER)
    image.set_qform(affine, code=SCANNER, strip_shears=True)
    content = image.to_bytes()
    if path.name.endswith(".gz"):
        with path.open("wb") as raw, gzip.GzipFile("", "wb", COMPRESSION, raw, mtime=0) as stream:
            stream.write(content)
    else:
        path.write_bytes(content)
    return path


def _storable(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.ndim != 3:
        raise ContractError("nifti.write", "volume has the wrong shape", got=array.shape, allowed="three axes")
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    if array.dtype.kind == "f":
        return array if array.dtype == np.float64 else array.astype(np.float32, copy=False)
    if array.dtype.kind not in "iu":
        raise ContractError("nifti.write", "volume has the wrong type", got=array.dtype, allowed="numbers")
    if array.dtype.name in INTEGERS:
        return array
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    for name in INTEGERS:
        if np.iinfo(name).min <= low and high <= np.iinfo(name).max:
            return array.astype(name)
    raise ContractError("nifti.write", "integers are too large", got=[low, high], allowed="32 bits")


def read(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Read a NIfTI file.

    Args:
        path: `*.nii` or `*.nii.gz` with a stated geometry (sform, else qform).

    Returns:
        array: Shape (slice, row, column), in real units where the file scales.
        affine: Index -> LPS [mm].

    Raises:
        InputError: Not readable, not three axes, or no geometry (which is never guessed).
    """
    where = name_of(path)
    try:
        image = nibabel.load(path)
        array = np.asanyarray(image.dataobj)
    except (ImageFileError, OSError, EOFError, ValueError) as error:
        raise InputError(where, "cannot be read as NIfTI", got=type(error).__name__) from error
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise InputError(where, "is not one volume", got=array.shape, allowed="three axes", do="split it")
    if not isinstance(image, nibabel.Nifti1Image):  # Nifti2Image is one too
        raise InputError(where, "is not NIfTI", got=type(image).__name__)
    if int(image.header["sform_code"]) == 0 and int(image.header["qform_code"]) == 0:
        raise InputError(where, "says nothing about where it lies (sform and qform code 0)", do="set its sform")
    affine = (RAS_FROM_LPS @ np.asarray(image.affine, dtype=np.float64))[:, REVERSED]
    return np.ascontiguousarray(array.transpose(2, 1, 0)), affine
