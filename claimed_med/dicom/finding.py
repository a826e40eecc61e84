"""What was noticed while reading, by name and with its numbers, in words that a radiographer understands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

NAMES = {
    "BlankSOPClass": "SOPClassUID is blank; the object is read by its Modality.",
    "ColourImage": "Colour images are pictures, not volumes.",
    "Constant": "All voxels have one value.",
    "DicomDirectory": "A DICOMDIR lists files; the files themselves are read.",
    "DuplicatePosition": "Two or more slices lie at the same place.",
    "FourDimensional": "The series holds several volumes (phases, echoes, diffusion weights); this is one of them.",
    "GantryTilt": "The gantry was tilted: slices are sheared against their normal.",
    "InconsistentPosition": "Slices are not on one straight line.",
    "Localizer": "The image is a localizer (scout).",
    "MissingPosition": "The image has no position in the patient.",
    "MissingSlice": "Slices are missing between others.",
    "MissingSpacing": "Pixel spacing is missing.",
    "NotDicom": "The file is no DICOM file.",
    "NotFinite": "Some voxels are no finite number.",
    "RepeatedInstance": "The file is another copy of an image that is there already.",
    "SingleSlice": "The volume has one slice.",
    "TooFewSlices": "The volume has fewer slices than are wanted.",
    "TooThick": "Slices are further apart than is wanted.",
    "Truncated": "The file ends before its pixel data do.",
    "UnevenSpacing": "The distance between slices changes.",
    "Unreadable": "The file cannot be read.",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed.

    Attributes:
        name: One of `NAMES`.
        text: A sentence with the numbers; never a patient attribute.
        numbers: The numbers of the sentence, by name.
        fatal: Whether this refuses the volume.
    """

    name: str
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)
    fatal: bool = False
