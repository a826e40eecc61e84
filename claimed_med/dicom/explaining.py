"""Explanations of a classifier's predictions: from cohort and images to figures, parametric maps and captures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
import pandas as pd
from highdicom.seg import segread
from pydicom.sr.coding import Code

from claimed_med.dicom import cohort as cohorts
from claimed_med.dicom import pm, sc, seg
from claimed_med.dicom.classification import SCHEME
from claimed_med.dicom.codes import NO_UNIT
from claimed_med.dicom.source import frame_of_reference_uid
from claimed_med.dicom.training import segmentation_files
from claimed_med.errors import InputError
from claimed_med.handles import DicomCollection, DicomSeries
from claimed_med.models.device import device
from claimed_med.progress import progress
from claimed_med.trust import explanation, fidelity, shortcut
from claimed_med.trust.metric import Metric, rows
from claimed_med.trust.overlay import overlay
from claimed_med.trust.predictions import Judged, judge

if TYPE_CHECKING:
    from claimed_med.dicom.series import Series
    from claimed_med.models.bundle import Bundle

WHERE = "explain-predictions"
MOST_PICTURES = 12  # on the page; every explained image has its own file
MARKER = "marker"


@dataclass(frozen=True)
class Found:
    """What explain-predictions found.

    Attributes:
        explained: One entry an explained image.
        series: Unit key -> the image.
        report: JSON-ready.
        page: HTML.
        pictures: File name -> PNG.
    """

    explained: list[explanation.Explained]
    series: dict[str, DicomSeries]
    report: dict[str, Any]
    page: str
    pictures: dict[str, bytes]


def explanation_of(
    images: DicomCollection,
    cohort: pd.DataFrame,
    predictions: pd.DataFrame,
    bundle: Bundle,
    *,
    methods: Sequence[str],
    subset: str,
    n_images: int,
    attributes: Sequence[str],
    place: str,
    n_bootstrap: int,
    options: Mapping[str, Any],
) -> Found:
    """Explain a sample, and check all predictions of the subset for shortcuts.

    Args:
        images: As the component's.
        cohort: As the component's.
        predictions: As the component's.
        bundle: As the component's.
        methods: As the component's.
        subset: As the component's.
        n_images: As the component's.
        attributes: As the component's.
        place: As the component's.
        n_bootstrap: As the component's.
        options: `n_regions`, `n_samples`, `seed`.
    """
    explanation.check_methods(methods)
    judged = judge(predictions, cohort, subset, WHERE)
    if judged.model_digest != bundle.digest:
        raise InputError(WHERE, "the predictions come from another model", do="predict with this bundle")
    if bundle.task != "classification":
        raise InputError(WHERE, "the bundle is for another task", got=bundle.task, allowed="classification")
    samples = _samples(judged, images)
    prepared = [bundle.prepare(*cohorts.pixels(one.series)) for one in samples]
    masks = [explanation.places(image, place) for image in prepared]
    seed = int(options["seed"])
    marks = [explanation.mark(image, one) for image, one in zip(prepared, masks, strict=True)]
    metrics = _shortcuts(judged, attributes, marks, n_bootstrap, seed)
    scored, column = judged.scored, bundle.classes.index(bundle.positive)
    explained = _explained(
        samples, prepared, masks, chosen=_chosen(judged, n_images, seed), images=images, bundle=bundle,
        methods=methods, options=options,
    )  # fmt: skip
    with progress(f"{WHERE}: without the place", len(samples) * len(masks[0])) as bar:
        for name in masks[0]:
            inside = [one[name] for one in masks]
            metrics.append(
                shortcut.auc_without(
                    bundle.quick_probabilities,
                    prepared,
                    inside,
                    scored,
                    column,
                    group=name,
                    n_bootstrap=n_bootstrap,
                    seed=seed,
                    progress=bar.advance,
                )
            )
    metrics += explanation.metrics_of(explained, methods, seed)
    report = _report(judged, bundle, subset, methods, metrics, explained)
    pictures = {f"{one.key}.png": explanation.drawn(one) for one in explained}
    legends = {
        f"{one.key}.png": f"Image {one.key}: probability of {bundle.positive} {one.score:.3f}"
        for one in explained[:MOST_PICTURES]
    }
    page = explanation.page(report, {name: pictures[name] for name in legends}, legends)
    return Found(explained, {one.series.key: one.series for one in samples}, report, page, pictures)


def _explained(
    samples: Sequence[cohorts.Sample],
    prepared: Sequence[npt.NDArray[np.float32]],
    masks: Sequence[Mapping[str, npt.NDArray[np.bool_]]],
    *,
    chosen: Sequence[int],
    images: DicomCollection,
    bundle: Bundle,
    methods: Sequence[str],
    options: Mapping[str, Any],
) -> list[explanation.Explained]:
    network = None if bundle.onnx else bundle.network(str(device()))
    random_network = None if network is None else fidelity.randomised(network)
    truths = segmentation_files(images)
    found = []
    with progress(WHERE, len(chosen)) as bar:
        for number in chosen:
            found.append(
                explanation.explain_one(
                    samples[number].series.key,
                    prepared[number],
                    bundle.classes.index(bundle.positive),
                    methods=methods,
                    probabilities=bundle.quick_probabilities,
                    network=network,
                    random_network=random_network,
                    masks=masks[number],
                    truth=_truth(samples[number], truths, prepared[number]),
                    options=options,
                )
            )
            bar.advance()
    return found


def _report(
    judged: Judged,
    bundle: Bundle,
    subset: str,
    methods: Sequence[str],
    metrics: Sequence[Metric],
    explained: Sequence[explanation.Explained],
) -> dict[str, Any]:
    return {
        "kind": "explanation",
        "model_digest": bundle.digest,
        "subset": subset,
        "positive": bundle.positive,
        "methods": list(methods),
        "n_images": len(judged.table),
        "n_explained": len(explained),
        "metrics": rows(metrics),
        "images": [
            {
                "key": one.key,
                "score": one.score,
                "fidelity": one.measured,
                "outside": one.outside,
                "pointing": one.pointing,
            }
            for one in explained
        ],
    }


def explained_objects(found: Found) -> tuple[DicomCollection, DicomCollection]:
    """Parametric maps and captures of every explained image; each unit has one object a method."""
    maps: list[DicomSeries] = []
    captures: list[DicomSeries] = []
    for one in found.explained:
        source = found.series[one.key].load()
        map_objects, capture_objects = [], []
        for method, values in one.maps.items():
            code = Code(method.upper()[:16], SCHEME, f"Attribution, {method.replace('_', ' ')}")
            volume = _on_grid(values, source)
            map_objects.append(pm.encode(volume, source=source, quantity=code, unit=NO_UNIT, contrast="NONE"))
            picture = overlay(one.image, values)
            capture_objects += sc.encode(picture[None], source=source, description=f"Explanation: {method}")
        for held, made in ((maps, map_objects), (captures, capture_objects)):
            series = DicomSeries(made)
            series.key = one.key
            held.append(series)
    return DicomCollection(maps), DicomCollection(captures)


def _samples(judged: Judged, images: DicomCollection) -> list[cohorts.Sample]:
    joined = cohorts.join(judged.table, images)
    if joined.missing["rows_without_image"]:
        raise InputError(
            WHERE, "rows of the cohort have no image", got=joined.missing["rows_without_image"], do="give their images"
        )
    return joined.samples


def _shortcuts(
    judged: Judged, attributes: Sequence[str], marks: Sequence[str], n_bootstrap: int, seed: int
) -> list[Metric]:
    """What each attribute has to do with label and score; `marker` is read from the images where no column tells."""
    columns = [name for name in attributes if name != MARKER or MARKER in judged.table]
    judged.groups(columns)  # refuses unknown columns
    return [
        metric
        for name in dict.fromkeys(attributes)
        for metric in shortcut.attribute_metrics(
            judged.scored,
            list(judged.table[name].astype(str)) if name in columns else marks,
            name,
            n_bootstrap=n_bootstrap,
            seed=seed,
        )
    ]


def _chosen(judged: Judged, n_images: int, seed: int) -> list[int]:
    """A seeded sample, alike from what was called positive and what was not."""
    generator = np.random.default_rng(seed)
    called = judged.scored.called
    sides = [generator.permutation(np.flatnonzero(called)), generator.permutation(np.flatnonzero(~called))]
    mixed = [int(one) for pair in zip(*sides, strict=False) for one in pair]
    rest = [int(one) for side in sides for one in side if int(one) not in set(mixed)]
    return [*mixed, *rest][:n_images]


def _truth(sample: cohorts.Sample, truths: Mapping[str, Any], image: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    file = truths.get(str(sample.row["sop_uid"]))
    if file is None:
        return None
    from scipy import ndimage

    masks = [np.asarray(one.mask.array) > 0 for one in seg.decode(segread(file), sample.series.load())]
    whole = np.any(masks, axis=0)
    whole = whole[0] if image.ndim == 3 and whole.ndim == 3 else whole
    factors = [new / old for new, old in zip(image.shape[1:], whole.shape, strict=True)]
    return np.asarray(ndimage.zoom(whole.astype(np.float32), factors, order=1) > 0.5)


def _on_grid(values: npt.NDArray[np.float32], source: Series) -> hd.Volume:
    """A map over the extent of its source; a radiograph without a place gets a frame of its own."""
    if cohorts.is_planar(source):
        height, width = int(source.headers[0].Rows), int(source.headers[0].Columns)
        row_mm, column_mm = cohorts.planar_spacing(source)
        affine = np.array([[0, 0, column_mm, 0], [1.0, 0, 0, 0], [0, -row_mm, 0, 0], [0, 0, 0, 1.0]])
        shape = (1, height, width)
        array = values[None]
    else:
        volume = source.volume()
        affine, shape, array = np.asarray(volume.affine, dtype=float), volume.shape, values
    scale = np.array([old / new for old, new in zip(shape, array.shape, strict=True)])
    moved = affine.copy()
    moved[:3, :3] = affine[:3, :3] * scale
    moved[:3, 3] = affine[:3, 3] + affine[:3, :3] @ ((scale - 1) / 2)
    return hd.Volume(
        np.ascontiguousarray(array),
        moved,
        coordinate_system="PATIENT",
        frame_of_reference_uid=frame_of_reference_uid(source),
    )
