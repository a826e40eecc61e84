"""A head MR of nobody: the MNI152 T1 template, a brain without a head, with skull and scalp made around it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from claimed_med.errors import MissingDependencyError
from claimed_med.testing.phantoms import write_series

TEMPLATE = "datasets/data/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"
LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MARGIN_MM = 22
# Outer border [mm from the brain] and signal of each layer: fluid, skull, scalp.
LAYERS = ((3.5, 45.0), (9.0, 12.0), (16.0, 190.0))


def make_brain_study(folder: Path) -> Path:
    """Write the study at 1 mm: one axial T1 series of 233 slices or fewer.

    Args:
        folder: Made when it is not there.
    """
    return write_head(folder, step=1)


def write_head(folder: Path, *, step: int) -> Path:
    """Write the head, every `step`-th voxel of the template in each direction.

    Args:
        folder: Made when it is not there.
        step: Voxel size [mm].
    """
    head, affine = head_of(step)
    # Array axes are R, A, S; an axial image has rows to P and columns to L, and slices go up.
    stored = np.asarray(np.round(head), np.uint16)[::-1, ::-1, :].transpose(2, 1, 0)
    corner = LPS_FROM_RAS @ affine @ np.array([head.shape[0] - 1, head.shape[1] - 1, 0, 1.0])
    write_series(
        folder,
        stored,
        spacing_mm=(float(step),) * 3,
        origin=tuple(corner[:3]),
        modality="MR",
        name=f"brain {step}",
        attributes={
            "PatientName": "TEMPLATE^MNI152",
            "PatientID": "MNI152",
            "PatientBirthDate": "",
            "PatientSex": "O",
            "AccessionNumber": "",
            "InstitutionName": "",
            "ReferringPhysicianName": "",
            "SeriesDescription": "T1 template with a made skull",
            "BodyPartExamined": "HEAD",
        },
    )
    return folder


def head_of(step: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The head: shape (right to left, back to front, feet to head) and affine index -> RAS [mm]."""
    image: Any = nib.load(template())
    brain = np.asarray(image.dataobj, np.float64)
    affine = np.asarray(image.affine, np.float64)
    brain = np.pad(brain, MARGIN_MM)
    affine = affine @ np.array([[1, 0, 0, -MARGIN_MM], [0, 1, 0, -MARGIN_MM], [0, 0, 1, -MARGIN_MM], [0, 0, 0, 1.0]])
    brain = brain[::step, ::step, ::step]
    affine = affine @ np.diag([step, step, step, 1.0])
    mask = ndimage.binary_fill_holes(brain > 0)
    outside = ndimage.distance_transform_edt(~mask, sampling=step)
    head = np.where(mask, brain * 2.0, 0.0)
    inner = 0.0
    for outer, signal in LAYERS:
        head[(outside > inner) & (outside <= outer)] = signal * 2.0
        inner = outer
    noise = np.random.default_rng(152).normal(0, 6.0, head.shape)
    return np.clip(head + noise, 0, None), affine


def template() -> Path:
    """The template file inside the nilearn wheel; nilearn itself is not imported.

    Raises:
        MissingDependencyError: nilearn is not installed.
    """
    spec = importlib.util.find_spec("nilearn")
    if spec is None or spec.origin is None:
        raise MissingDependencyError("data", "nilearn is not installed", do="run: pip install 'claimed_med[demo]'")
    return Path(spec.origin).parent / TEMPLATE
