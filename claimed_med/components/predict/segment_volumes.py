"""Segment volumes with a trained model."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Interval, component
from claimed_med.handles import DicomSegmentation, DicomSeries, ModelBundle


@component(
    version="1.0.0",
    image="torch",
    over="series",
    threads=2,
    tags=("prediction", "segmentation", "sliding window"),
    example={"volume": "segmented_volumes", "bundle": "train-segmenter:bundle"},
)
def segment_volumes(
    volume: DicomSeries, bundle: ModelBundle, *, overlap: Annotated[float, Interval(0.0, 0.9)] = 0.25
) -> DicomSegmentation:
    """Segment volumes with a trained model.

    The volume is prepared as in training and predicted window by window; only windows are on the GPU, so a series may
    be larger than its memory. The result is brought back to the grid of the series.

    Args:
        volume: One volume, as the model was trained on.
        bundle: A segmentation model of torch.
        overlap: Of neighbouring windows, as a part of their size.

    Returns:
        segmentation: SEG on the grid of `volume`; a structure that is not found is an empty segment.

    Raises:
        InputError: Not a sound volume, or a bundle of another task.
        ModelError: Weights and network do not fit.
    """
    import highdicom as hd

    from claimed_med.dicom import seg
    from claimed_med.dicom.codes import ARTIFICIAL_INTELLIGENCE, SegmentDefinition, SegmentTable
    from claimed_med.dicom.codes import code_of
    from claimed_med.errors import InputError
    from claimed_med.models.held import held

    model = held(bundle)
    if model.task != "segmentation" or model.onnx:
        raise InputError("segment-volumes", "the bundle is no torch segmentation model", got=model.task)
    source = volume.load()
    grid = source.volume()
    labels = model.label_voxels(grid.array, grid.spacing, overlap)
    table = SegmentTable(
        "Trained",
        ARTIFICIAL_INTELLIGENCE,
        tuple(
            SegmentDefinition(number, one["label"], code_of(one["category"]), code_of(one["kind"]))
            for number, one in enumerate(model.data["segments"], 1)
        ),
    )
    made = hd.Volume(
        labels, grid.affine, coordinate_system="PATIENT", frame_of_reference_uid=grid.frame_of_reference_uid
    )
    return DicomSegmentation(seg.encode(made, source=source, segments=table))
