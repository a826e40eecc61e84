"""Where the samples of two files first differ: pictures, volumes, tensors; what stands around them has no tolerance.

Grey and colour levels are computed, and so are floating-point numbers: they may differ by the tolerance. A whole number
of a volume or tensor, and an index into a palette, may be a label: it may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

_INDEXED = {"1", "P", "PA"}  # modes of PIL whose samples name a colour


def voxels(old: Any, new: Any, tolerance: float, axes: str) -> float | str:
    """The first voxel that differs by more than the tolerance.

    Args:
        old: Array of samples.
        new: Another.
        tolerance: Largest absolute difference that counts as equal; 0 for labels.
        axes: Names of the axes, for the text.
    """
    import numpy as np

    if old.shape != new.shape:
        return f"the shape was {old.shape}, now {new.shape}"
    gap = np.abs(old.astype(np.float64) - new.astype(np.float64))
    gap[np.isnan(old.astype(np.float64)) & np.isnan(new.astype(np.float64))] = 0
    wrong = ~(gap <= tolerance)
    if not wrong.any():
        return float(gap.max(initial=0.0))
    first = tuple(int(axis[0]) for axis in np.nonzero(wrong))
    return (
        f"the first differing voxel is ({axes}) {first}: {old[first]} became {new[first]};"
        f" {int(wrong.sum())} of {wrong.size} differ, by at most {float(np.nanmax(gap)):g}"
    )


def tensors(old: Path, new: Path, tolerance: float) -> float | str:
    """The first difference of two safetensors files: metadata, names, types, then weights."""
    from safetensors import safe_open
    from safetensors.numpy import load_file

    with safe_open(old, "np") as first, safe_open(new, "np") as second:
        told = _entries(first.metadata() or {}, second.metadata() or {}, "metadata")
    if told:
        return told
    one, other = load_file(old), load_file(new)
    if set(one) != set(other):
        return f"tensors in one file only: {', '.join(sorted(set(one) ^ set(other))[:5])}"
    worst = 0.0
    for name in sorted(one):
        found = _typed(one[name], other[name], tolerance, f"tensor {name}")
        if isinstance(found, str):
            return found.replace("voxel", "weight")
        worst = max(worst, found)
    return worst


def nifti(old: Path, new: Path, tolerance: float) -> float | str:
    """The first difference of two NIfTI files: any field of the header (units, affine), extensions, then voxels."""
    import nibabel as nib
    import numpy as np

    one: Any = nib.load(old)
    other: Any = nib.load(new)
    told = _header(one, other)
    if told:
        return told
    return _typed(np.asarray(one.dataobj), np.asarray(other.dataobj), tolerance, "i, j, k")


def picture(old: Path, new: Path, tolerance: float) -> float | str:
    """The first difference of two pictures: mode, palette, what the file says beside, then pixels."""
    import numpy as np
    from PIL import Image

    with Image.open(old) as one, Image.open(new) as other:
        for image in (one, other):
            image.load()  # what stands behind the pixels is read by then only
        if one.mode != other.mode:
            return f"the mode was {one.mode}, now {other.mode}"
        if one.getpalette() != other.getpalette():
            return "the palette differs"
        told = _entries(one.info, other.info, "property")
        allowed = 0.0 if one.mode in _INDEXED else tolerance
        return told or voxels(np.asarray(one), np.asarray(other), allowed, "row, column, channel")


def _typed(old: Any, new: Any, tolerance: float, axes: str) -> float | str:
    """As `voxels`; types must be equal, and whole numbers too."""
    if old.dtype != new.dtype:
        return f"{axes}: the type was {old.dtype}, now {new.dtype}"
    return voxels(old, new, tolerance if old.dtype.kind in "fc" else 0.0, axes)


def _entries(old: Any, new: Any, what: str) -> str:
    """The first name under which two mappings differ; what stands there is not shown, it may be anything."""
    for name in sorted({*old, *new}, key=str):
        if name not in old or name not in new:
            return f"the {what} {name} {'appeared' if name not in old else 'is gone'}"
        if old[name] != new[name]:
            return f"the {what} {name} differs"
    return ""


def _header(old: Any, new: Any) -> str:
    one, other = old.header, new.header
    if one.endianness != other.endianness or type(one) is not type(other):
        return "the byte order or the version of the format differs"
    for name in one.structarr.dtype.names:
        was, is_now = one[name], other[name]
        if was.tobytes() != is_now.tobytes():
            shown = "" if was.dtype.kind == "S" else f": {was.tolist()} became {is_now.tolist()}"
            return f"the header field {name} differs{shown}"
    if [(one.get_code(), one.get_content()) for one in old.header.extensions] != [
        (one.get_code(), one.get_content()) for one in new.header.extensions
    ]:
        return "an extension of the header differs"
    scales = [(image.dataobj.slope, image.dataobj.inter) for image in (old, new)]
    return f"the scale (slope, intercept) was {scales[0]}, now {scales[1]}" if scales[0] != scales[1] else ""
