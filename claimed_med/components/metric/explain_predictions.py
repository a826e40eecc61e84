"""Explain predictions and check them for shortcuts."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from claimed_med.component import Interval, component
from claimed_med.handles import DicomCollection, ModelBundle, Report, Table


class ExplainPredictionsOutputs(NamedTuple):
    """What explain_predictions returns."""

    maps: DicomCollection
    captures: DicomCollection
    explanation: Report


@component(
    version="1.0.0",
    image="torch",
    group="explainability",
    threads=2,
    tags=("captum", "grad-cam", "deeplift", "lime", "shap", "shortcut"),
    example={
        "images": "import-xrays:images",
        "cohort": "split-cohort:split",
        "predictions": "classify-images:predictions",
        "bundle": "train-classifier:bundle",
        "subset": "",
        "n_images": 1,
        "n_bootstrap": 100,
        "methods": ["region_ablation", "deeplift"],
    },
)
def explain_predictions(
    images: DicomCollection,
    cohort: Table,
    predictions: Table,
    bundle: ModelBundle,
    *,
    methods: list[str] = ["region_ablation", "deeplift", "grad_cam"],  # noqa: B006 - never changed
    subset: str = "test",
    n_images: Annotated[int, Interval(1, 10_000)] = 8,
    attributes: list[str] = ["view", "scanner", "sex", "marker"],  # noqa: B006 - never changed
    place: Literal["lungs", "body", "none"] = "lungs",
    n_regions: Annotated[int, Interval(2, 10_000)] = 40,
    n_samples: Annotated[int, Interval(10, 100_000)] = 200,
    n_bootstrap: Annotated[int, Interval(100, 100_000)] = 1000,
    seed: Annotated[int, Interval(0, 2**31 - 1)] = 0,
) -> ExplainPredictionsOutputs:
    """Explain predictions and check them for shortcuts.

    For a seeded sample of images, alike from both called classes: maps by every method, each with its fidelity
    (deletion, insertion, infidelity, sensitivity) and the model-randomisation check. For all images of the subset:
    what is left of the AUC without the place of the disease, and how well view, scanner, sex or a mark of lead predict
    the output and are betrayed by the score. Where a SEG in `images` refers to an explained image, the pointing check.

    Args:
        images: Images of the cohort, and SEG objects of findings where there are any.
        cohort: With label, split and the attributes.
        predictions: From classify-images.
        bundle: The model that made them.
        methods: grad_cam, guided_grad_cam, integrated_gradients, deeplift, occlusion, region_ablation, lime,
            kernel_shap; the first one counts for the gate.
        subset: Value of split; '' for all rows.
        n_images: Images that are explained.
        attributes: Columns of the cohort that could be shortcuts; `marker`, where it is no column, is the side on which
            a mark of lead is seen beside the lungs (with place lungs).
        place: Where the disease can be seen: lungs (frontal chest X-ray), body, or none to leave the check out.
        n_regions: Supervoxels of the model-agnostic methods.
        n_samples: Changed images of LIME and Kernel SHAP.
        n_bootstrap: Bootstrap samples.
        seed: Of sample and methods.

    Returns:
        maps: Parametric maps, one a method and image, on the grid of the image as it was prepared.
        captures: The same as Secondary Capture, laid over the image, which every PACS shows.
        explanation: Figures with intervals, example pictures, a page.

    Raises:
        ContractError: An unknown method, or one that needs gradients of an ONNX model.
        InputError: No image in the subset, or predictions of another model.

    Source:
        Captum, doi:10.48550/arXiv.2009.07896; Adebayo et al. 2018, doi:10.48550/arXiv.1810.03292; DeGrave et al. 2021
        (shortcuts in chest X-rays), doi:10.1038/s42256-021-00338-7.
    """
    from claimed_med.dicom.explaining import explained_objects, explanation_of

    found = explanation_of(
        images,
        cohort.load(),
        predictions.load(),
        bundle.load(),
        methods=methods,
        subset=subset,
        n_images=n_images,
        attributes=attributes,
        place=place,
        n_bootstrap=n_bootstrap,
        options={"n_regions": n_regions, "n_samples": n_samples, "seed": seed},
    )
    maps, captures = explained_objects(found)
    return ExplainPredictionsOutputs(maps, captures, Report(found.report, html=found.page, pictures=found.pictures))
