"""Classify images with a trained model."""

from __future__ import annotations

from typing import NamedTuple

from claimed_med.component import component
from claimed_med.handles import DicomReport, DicomSeries, ModelBundle, Table


class ClassifyImagesOutputs(NamedTuple):
    """What classify_images returns."""

    report: DicomReport
    predictions: Table


@component(
    version="1.0.0",
    image="torch",
    over="series",
    tags=("prediction", "classification", "tid1500"),
    example={"images": "import-xrays:images", "bundle": "train-classifier:bundle"},
)
def classify_images(images: DicomSeries, bundle: ModelBundle) -> ClassifyImagesOutputs:
    """Classify images with a trained model.

    Each image is prepared as in training and seen alone, so that its result is the same alone and among thousands.
    The truth is never needed. Torch and ONNX bundles run alike.

    Args:
        images: Images or volumes, as the model was trained on.
        bundle: A classification model.

    Returns:
        report: TID 1500 report with certainty, threshold, class and model, which refers to the image.
        predictions: One row: UIDs, patient_key, score, predicted, threshold, positive, model_digest and one column
            probability_CLASS for every class.

    Raises:
        InputError: An image that the model was not made for, NaN pixels, or a bundle of another task.
        ModelError: Weights and network do not fit.
    """
    from claimed_med.dicom import classification
    from claimed_med.dicom.cohort import describe_one, pixels
    from claimed_med.errors import InputError
    from claimed_med.models.held import held

    model = held(bundle)
    if model.task != "classification":
        raise InputError("classify-images", "the bundle is for another task", got=model.task, do="use segment-volumes")
    source = images.load()
    found = model.classify(*pixels(images), where="classify-images")
    shown = classification.Classification(
        dict(zip(model.classes, found.probabilities, strict=True)),
        model.positive,
        model.threshold,
        found.predicted,
        model.digest,
    )
    return ClassifyImagesOutputs(
        DicomReport(classification.encode(shown, source=source)),
        Table(describe_one(source, shown)),
    )
