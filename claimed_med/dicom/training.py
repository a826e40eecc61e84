"""From a cohort table and its images to the arrays that training takes. All images are read before training starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from highdicom.seg import segread
from pydicom import Dataset, dcmread
from pydicom.sr.coding import Code
from pydicom.uid import UID, SegmentationStorage

from claimed_med import scratch
from claimed_med.dicom import cohort as cohorts
from claimed_med.dicom import seg
from claimed_med.dicom.codes import SegmentDefinition
from claimed_med.dicom.scan import scan
from claimed_med.errors import ContractError, InputError
from claimed_med.lineage import digest
from claimed_med.models.networks import definition
from claimed_med.models.prepare import Preparation, size_of
from claimed_med.models.samples import Reader, Samples, collect
from claimed_med.progress import progress
from claimed_med.trust.split import overlap

if TYPE_CHECKING:
    from claimed_med.handles import DicomCollection
    from claimed_med.models.recipe import Recipe

PARTS = ("train", "validation")
_SEGMENTATIONS = {SegmentationStorage, UID("1.2.840.10008.5.1.4.1.1.66.7")}  # binary or fractional; label map
_COUNTED = ("label", "sex", "age_band", "view", "scanner", "site")


@dataclass
class Held:
    """What a training needs of its data.

    Attributes:
        classes: Names of the classes, sorted; of the foreground for segmentation.
        parts: `train` and `validation`.
        network: The definition of the network, checked before any image was read.
        data: Counts and digests, for bundle and card.
        n_channels: Channels of an image.
    """

    classes: list[str]
    parts: dict[str, Samples]
    network: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)
    n_channels: int = 1


def classification_samples(cohort: pd.DataFrame, images: DicomCollection, recipe: Recipe, where: str) -> Held:
    """Images with their class.

    Args:
        cohort: With label and split.
        images: Of the cohort.
        recipe: How they are prepared.
        where: The component that speaks.

    Raises:
        ContractError: A recipe of another task, or an unknown network.
        InputError: A part or class is empty, images are missing or cannot be used; all are named.
    """
    _require_task(recipe, "classification", where)
    rows = _rows(cohort, where)
    classes = sorted(set(rows["label"]))
    _require_classes(rows, classes, where)
    network = _network(recipe, len(classes))
    preparation = Preparation(recipe)

    def reader(sample: cohorts.Sample) -> Reader:
        return _ClassReader(preparation, sample, classes.index(str(sample.row["label"])))

    parts = _collect(rows, images, reader, recipe, where)
    return Held(classes, parts, network, _described(rows, parts))


def segmentation_samples(
    cohort: pd.DataFrame,
    images: DicomCollection,
    truths: DicomCollection,
    structures: list[str],
    recipe: Recipe,
    where: str,
) -> Held:
    """Volumes with their label maps.

    Args:
        cohort: With split.
        images: Of the cohort.
        truths: SEG objects that refer to them.
        structures: Labels of the segments to learn, in order; all that occur when empty.
        recipe: How they are prepared.
        where: The component that speaks.

    Raises:
        ContractError: A recipe of another task, or an unknown network.
        InputError: A volume without SEG, no segment of a name, images that cannot be used.
    """
    _require_task(recipe, "segmentation", where)
    rows = _rows(cohort, where)
    found = segmentation_files(truths)
    known = _structures(found.values())
    classes = structures or sorted(known)
    if not classes:
        raise InputError(where, "no SEG object was found", do="give a folder of SEG objects as truths")
    unknown = sorted(set(classes) - set(known))
    if unknown:
        raise InputError(where, "no SEG holds this structure", got=", ".join(unknown), allowed=", ".join(sorted(known)))
    network = _network(recipe, len(classes) + 1)
    preparation = Preparation(recipe)

    def reader(sample: cohorts.Sample) -> Reader:
        return _VoxelReader(preparation, sample, found.get(str(sample.row["sop_uid"])), tuple(classes))

    parts = _collect(rows, images, reader, recipe, where)
    if not any(int(target.max()) for target in parts["train"].targets):
        raise InputError(where, "no training volume holds any of the structures", got=", ".join(classes))
    codes = [
        {"label": name, "category": list(known[name].category[:3]), "kind": list(known[name].kind[:3])}
        for name in classes
    ]
    return Held(classes, parts, network, {**_described(rows, parts), "segments": codes})


def _require_task(recipe: Recipe, task: str, where: str) -> None:
    if recipe.task != task:
        raise ContractError(where, "the recipe is for another task", got=recipe.task, allowed=task)


def _rows(cohort: pd.DataFrame, where: str) -> pd.DataFrame:
    checked = cohorts.check(cohort, where, "label", "split")
    rows = checked[checked["split"].isin(PARTS)]
    counts = rows["split"].value_counts()
    empty = [part for part in PARTS if not counts.get(part)]
    if empty:
        raise InputError(where, f"the cohort has no rows for {' and '.join(empty)}", do="make them with split-cohort")
    leaking = overlap(checked, "patient_key") if "patient_key" in checked else []
    if leaking:
        raise InputError(
            where, "patients are in more than one part of the split", got=len(leaking), do="split with split-cohort"
        )
    return rows


def _require_classes(rows: pd.DataFrame, classes: list[str], where: str) -> None:
    if len(classes) < 2:
        raise InputError(
            where, "there is one class only", got=", ".join(classes), allowed="two or more", do="check the label column"
        )
    for part in PARTS:
        missing = sorted(set(classes) - set(rows.loc[rows["split"] == part, "label"]))
        if missing:
            raise InputError(where, f"class {', '.join(missing)} has no image in {part}", do="split again")


def _network(recipe: Recipe, n_classes: int) -> dict[str, Any]:
    return definition(
        recipe.network, task=recipe.task, dims=recipe.dims, n_channels=1, n_classes=n_classes, size=size_of(recipe)
    )


@dataclass(frozen=True)
class _ClassReader:
    """Reads and prepares one image; a value, so that another process can do it."""

    preparation: Preparation
    sample: cohorts.Sample
    target: int

    def __call__(self) -> tuple[torch.Tensor, Any]:
        image = self.preparation.image(*cohorts.pixels(self.sample.series))
        return torch.from_numpy(np.asarray(image)), self.target


@dataclass(frozen=True)
class _VoxelReader:
    """Reads and prepares one volume with its label map; a value, so that another process can do it."""

    preparation: Preparation
    sample: cohorts.Sample
    truth: Path | None
    classes: tuple[str, ...]

    def __call__(self) -> tuple[torch.Tensor, Any]:
        array, spacing = cohorts.pixels(self.sample.series)
        labels = _label_map(self.sample, self.truth, self.classes, array.shape)
        image = torch.from_numpy(np.asarray(self.preparation.image(array, spacing)))
        return image, self.preparation.labels(labels, spacing)


def _collect(
    rows: pd.DataFrame,
    images: DicomCollection,
    reader: Callable[[cohorts.Sample], Reader],
    recipe: Recipe,
    where: str,
) -> dict[str, Samples]:
    joined = cohorts.join(rows, images)
    if joined.missing["rows_without_image"]:
        raise InputError(
            where,
            "rows of the cohort have no image",
            got=joined.missing["rows_without_image"],
            do="give the collection that the cohort was made of, or filter the cohort",
        )
    parts = {}
    with progress(f"{where}: reading", len(joined.samples)) as bar:
        for part in PARTS:
            items = [(str(one.row["sop_uid"]), reader(one)) for one in joined.samples if one.row["split"] == part]
            parts[part] = collect(
                items, where=where, on_image=bar.advance, readers=recipe.compute.readers, scratch=scratch.folder()
            )
    return parts


def segmentation_files(truths: DicomCollection) -> dict[str, Path]:
    """Referenced SOPInstanceUID -> file of the SEG objects of a collection."""
    found: dict[str, Path] = {}
    files = [path for path in truths.paths() if path.suffix != ".json"]
    for other in scan(files).others:
        if other.sop_class_uid in _SEGMENTATIONS:
            found.update(dict.fromkeys(other.references, other.path))
    return found


def _structures(files: Iterable[Path]) -> dict[str, SegmentDefinition]:
    """Label -> definition with its codes, of all segments that occur; numbers are given later."""
    found: dict[str, SegmentDefinition] = {}
    for path in sorted(set(files)):
        for item in dcmread(path, stop_before_pixels=True).SegmentSequence:
            category, kind = item.SegmentedPropertyCategoryCodeSequence[0], item.SegmentedPropertyTypeCodeSequence[0]
            one = SegmentDefinition(1, str(item.SegmentLabel), _code(category), _code(kind))
            found.setdefault(one.label, one)
    return found


def _code(item: Dataset) -> Code:
    return Code(str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning))


def _label_map(
    sample: cohorts.Sample, truth: Path | None, classes: Sequence[str], shape: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    if truth is None:
        raise InputError("train-segmenter", "no SEG refers to this volume")
    labels = np.zeros(shape, dtype=np.uint8)
    for segment in seg.decode(segread(truth), sample.series.load()):
        if segment.label in classes:
            labels[np.asarray(segment.mask.array) > 0] = classes.index(segment.label) + 1
    return labels


def _described(rows: pd.DataFrame, parts: dict[str, Samples]) -> dict[str, Any]:
    """Counts and digests of the data; groups by name, never a patient."""
    counts = {}
    for part in PARTS:
        here = rows[rows["split"] == part]
        groups = {
            name: {str(key): int(n) for key, n in here[name].value_counts().sort_index().items()}
            for name in _COUNTED
            if name in here
        }
        counts[part] = {
            "n_images": len(here),
            "n_patients": int(here["patient_key"].nunique()) if "patient_key" in here else 0,
            **groups,
        }
    sources = {part: digest(sorted(parts[part].keys)) for part in PARTS}
    return {"counts": counts, "sop_uids_sha256": sources, "pixels_sha256": {p: parts[p].digest() for p in PARTS}}
