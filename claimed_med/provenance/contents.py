"""Where two files first differ, in the words of their format: an attribute, a voxel, a cell, a tensor, a field.

Every function returns the largest numeric difference when all of them lie within the tolerance, else a text. What is no
number that was computed (attributes, palettes, units, labels, names) has no tolerance; UIDs and digests that follow
from the content count as equal where the content does.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from claimed_med.errors import header_value
from claimed_med.provenance.samples import nifti, picture, tensors, voxels

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DERIVED = re.compile(r"[0-9a-f]{12,64}|2\.25\.[0-9]+")  # digests and UIDs follow from the content
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_GROUP_LENGTH = 0x00020000  # follows from the lengths of UIDs
_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"  # Label Map Segmentation Storage
_CHUNK = 1 << 20


def difference(old: Path, new: Path, tolerance: float) -> float | str:
    """Compare two files of the same kind.

    Args:
        old: The first.
        new: The second.
        tolerance: Largest absolute difference that counts as equal.
    """
    reader = _READERS.get("".join(new.suffixes[-2:]) if new.name.endswith(".nii.gz") else new.suffix, first_byte_of)
    return reader(old, new, tolerance)


def first_byte(old: Path, new: Path) -> str:
    """The first byte in which two files differ."""
    place = 0
    with old.open("rb") as one, new.open("rb") as other:
        while True:
            left, right = one.read(_CHUNK), other.read(_CHUNK)
            if left != right:
                pairs = zip(left, right, strict=False)
                inner = next((at for at, pair in enumerate(pairs) if pair[0] != pair[1]), min(len(left), len(right)))
                return f"the first differing byte is number {place + inner}"
            if not left:
                return "the files are the same"
            place += len(left)


def first_byte_of(old: Path, new: Path, _: float) -> float | str:
    """As `first_byte`, for files of an unknown kind."""
    return first_byte(old, new)


def dicom(old: Path, new: Path, tolerance: float) -> float | str:
    """The first differing attribute, by path, or voxel, by frame, row and column."""
    from pydicom import dcmread

    one, other = dcmread(old), dcmread(new)
    told = _attributes(_meta(one), _meta(other), "", derived=False) or _attributes(one, other, "", derived=False)
    if told:
        return told
    for keyword in _PIXELS:
        if keyword in one and one[keyword].value != other[keyword].value:
            return voxels(one.pixel_array, other.pixel_array, 0.0 if _has_labels(one) else tolerance, _axes(one))
    return 0.0 if tolerance > 0 else _attributes(one, other, "", derived=True) or first_byte(old, new)


def _meta(dataset: Any) -> Any:
    return {one.tag: one for one in dataset.file_meta if one.tag != _GROUP_LENGTH}


def _has_labels(dataset: Any) -> bool:
    """Whether pixel values name something: segments, or colours of a palette; half a step of them means nothing."""
    return (
        dataset.get("SegmentationType", "") in {"BINARY", "LABELMAP"}
        or dataset.get("SOPClassUID", "") == _LABEL_MAP
        or dataset.get("PhotometricInterpretation", "") == "PALETTE COLOR"
    )


def tree(old: Any, new: Any, tolerance: float, place: str = "", *, derived: bool = False) -> float | str:
    """The first field of two JSON values that differs.

    Args:
        old: The first.
        new: The second.
        tolerance: Largest absolute difference of numbers that counts as equal.
        place: Path of the two in their files.
        derived: Whether texts count as different that differ only in digests and UIDs, which follow from the content.
    """
    if isinstance(old, dict) and isinstance(new, dict):
        if set(old) != set(new):
            return f"{place or 'top'}: the fields {', '.join(sorted(set(old) ^ set(new)))} are in one only"
        inner = [(f"{place}.{name}".lstrip("."), old[name], new[name]) for name in old]
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return f"{place or 'top'}: had {len(old)} entries, now {len(new)}"
        inner = [(f"{place}[{at}]", *pair) for at, pair in enumerate(zip(old, new, strict=True))]
    else:
        return _leaf(old, new, tolerance, place, derived=derived)
    return _worst(tree(one, other, tolerance, name, derived=derived) for name, one, other in inner)


def _leaf(old: Any, new: Any, tolerance: float, place: str, *, derived: bool) -> float | str:
    if old == new and isinstance(old, bool) == isinstance(new, bool):
        return 0.0
    if all(isinstance(one, int | float) and not isinstance(one, bool) for one in (old, new)):
        gap = float(abs(old - new))
        if gap <= tolerance:
            return gap
    elif (
        isinstance(old, str) and isinstance(new, str) and not derived and DERIVED.sub("*", old) == DERIVED.sub("*", new)
    ):
        return 0.0
    return f"{place or 'top'}: {json.dumps(old)[:60]} became {json.dumps(new)[:60]}"


def _worst(found: Any) -> float | str:
    worst = 0.0
    for one in found:
        if isinstance(one, str):
            return one
        worst = max(worst, one)
    return worst


def text_of_json(old: Path, new: Path, tolerance: float) -> float | str:
    """The first differing field of two JSON files."""
    one, other = json.loads(old.read_bytes()), json.loads(new.read_bytes())
    found = tree(one, other, tolerance)
    if isinstance(found, str) or tolerance > 0:
        return found
    strict = tree(one, other, tolerance, derived=True)
    return strict if isinstance(strict, str) else first_byte(old, new)


def table(old: Path, new: Path, tolerance: float) -> float | str:
    """The first differing cell of two tables; the cell is named, not shown: it may hold what names a patient."""
    import pandas as pd

    read = pd.read_parquet if old.suffix == ".parquet" else pd.read_csv
    one, other = read(old), read(new)
    if list(one.columns) != list(other.columns) or len(one) != len(other):
        return f"the table had {len(one)} rows, {len(one.columns)} columns, now {len(other)}, {len(other.columns)}"
    worst = 0.0
    for name in one.columns:
        left, right = one[name], other[name]
        same = (left == right) | (left.isna() & right.isna())
        if pd.api.types.is_numeric_dtype(left) and pd.api.types.is_numeric_dtype(right):
            gap = (left.astype(float) - right.astype(float)).abs()
            worst = max(worst, float(gap[gap <= tolerance].max() if (gap <= tolerance).any() else 0.0))
            same |= gap <= tolerance
        if not same.all():
            return f"the first differing cell is column {name}, row {int((~same).to_numpy().argmax())}"
    return worst


def _axes(dataset: Any) -> str:
    axes = ["row", "column"]
    if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
        axes.insert(0, "frame")
    return ", ".join([*axes, *(["channel"] if int(dataset.get("SamplesPerPixel", 1)) > 1 else [])])


def _attributes(old: Any, new: Any, place: str, *, derived: bool) -> str:
    """The first attribute that differs, pixel data left out; '' when there is none."""
    for tag in sorted({*old.keys(), *new.keys()}):
        one, other = old.get(tag), new.get(tag)
        name = f"{place}{(one or other).keyword or tag}"
        if one is None or other is None:
            return f"the attribute {name} {'appeared' if one is None else 'is gone'}"
        if one.VR == "SQ" and other.VR == "SQ":
            told = _items(one.value, other.value, name, derived=derived)
            if told:
                return told
        elif one.value != other.value and name not in _PIXELS and (derived or not _follow(one, other)):
            shown = [header_value(one.keyword, value.value) for value in (one, other)]
            return f"the first differing attribute is {name} {tag}: {shown[0]} became {shown[1]}"
    return ""


def _follow(one: Any, other: Any) -> bool:
    """Whether two values are UIDs of ours, which differ because something else does."""
    texts = [str(value.value) for value in (one, other)]
    return one.VR == "UI" and all(DERIVED.fullmatch(text) for text in texts)


def _items(old: Any, new: Any, name: str, *, derived: bool) -> str:
    if len(old) != len(new):
        return f"{name} had {len(old)} items, now {len(new)}"
    told = (_attributes(*pair, f"{name}[{at}].", derived=derived) for at, pair in enumerate(zip(old, new, strict=True)))
    return next((one for one in told if one), "")


_READERS: dict[str, Callable[[Path, Path, float], float | str]] = {
    ".dcm": dicom,
    ".json": text_of_json,
    ".parquet": table,
    ".csv": table,
    ".safetensors": tensors,
    ".nii": nifti,
    ".nii.gz": nifti,
    ".png": picture,
}
