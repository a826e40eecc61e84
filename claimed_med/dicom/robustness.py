"""The images on which the robustness of a classifier is tested."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from claimed_med.dicom import cohort as cohorts
from claimed_med.errors import InputError
from claimed_med.models.device import device
from claimed_med.trust.robustness import Subject

if TYPE_CHECKING:
    from claimed_med.handles import DicomCollection
    from claimed_med.models.bundle import Bundle

WHERE = "measure-robustness"


def subject_of(
    cohort: pd.DataFrame, images: DicomCollection, bundle: Bundle, *, subset: str, n_images: int, seed: int
) -> Subject:
    """Model and prepared images, alike from every class.

    Args:
        cohort: With label, and split when a subset is asked for.
        images: Of the cohort.
        bundle: A classification model.
        subset: Value of split, or '' for all rows.
        n_images: Most images; 0 for all.
        seed: Of the sample.

    Raises:
        InputError: No image, one class only, or a label that is no class of the model.
    """
    table = cohorts.check(cohort, WHERE, "label", "patient_key", *(["split"] if subset else []))
    rows = table[table["split"] == subset] if subset else table
    foreign = sorted(set(rows["label"]) - set(bundle.classes))
    if bundle.task != "classification" or foreign or rows["label"].nunique() < 2:
        raise InputError(
            WHERE, "needs a classification model and images of at least two of its classes",
            got=", ".join(foreign) or f"{rows['label'].nunique()} classes", allowed=", ".join(bundle.classes),
        )  # fmt: skip
    chosen = _sampled(rows, n_images, seed)
    joined = cohorts.join(chosen, images)
    if joined.missing["rows_without_image"]:
        raise InputError(WHERE, "rows of the cohort have no image", got=joined.missing["rows_without_image"])
    prepared = np.stack([bundle.prepare(*cohorts.pixels(one.series)) for one in joined.samples])
    return Subject(
        probabilities=bundle.quick_probabilities,
        network=None if bundle.onnx else bundle.network(str(device())),
        images=prepared,
        targets=np.array([bundle.classes.index(str(one.row["label"])) for one in joined.samples]),
        patients=np.array([str(one.row["patient_key"]) for one in joined.samples]),
        positive=bundle.classes.index(bundle.positive),
        threshold=bundle.threshold,
        n_classes=len(bundle.classes),
    )


def _sampled(rows: pd.DataFrame, n_images: int, seed: int) -> pd.DataFrame:
    ordered = rows.sort_values("sop_uid", ignore_index=True)
    if not n_images or n_images >= len(ordered):
        return ordered
    generator = np.random.default_rng(seed)
    by_class = [
        generator.permutation(np.flatnonzero(ordered["label"] == name)) for name in sorted(set(ordered["label"]))
    ]
    longest = max(map(len, by_class))
    mixed = [int(part[place]) for place in range(longest) for part in by_class if place < len(part)]
    return ordered.iloc[sorted(mixed[:n_images])]
