"""Draw a mosaic of a series with its segmentation."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Interval, component
from claimed_med.handles import DicomCapture, DicomSegmentation, DicomSeries, Picture


class RenderOverviewOutputs(NamedTuple):
    """What render_overview returns."""

    picture: Picture
    capture: DicomCapture


@component(
    version="1.0.0",
    over="series",
    tags=("overview", "mosaic", "secondary capture"),
    example={"series": "chest_ct", "segmentation": "segment-lungs:segmentation"},
)
def render_overview(
    series: DicomSeries,
    segmentation: DicomSegmentation,
    *,
    n_tiles: Annotated[int, Interval(1, 64)] = 12,
) -> RenderOverviewOutputs:
    """Draw a mosaic of a series with its segmentation.

    Slices are chosen evenly over the extent of the segmentation; each segment is tinted and outlined. CT is shown in
    the soft-tissue window (in the lung window when lungs were segmented), all else between the 1st and 99th percentile.

    Args:
        series: Any volume.
        segmentation: SEG of that volume.
        n_tiles: Most slices that are shown.

    Returns:
        picture: The mosaic as PNG.
        capture: The same as DICOM Secondary Capture, which every PACS shows.

    Raises:
        InputError: Not a volume, or the SEG does not belong to the series.
    """
    from claimed_med.dicom import sc, seg
    from claimed_med.imaging.render import mosaic, png, window_for

    image = series.load()
    volume = image.volume()
    segments = seg.decode(segmentation.load(), image)
    labels = seg.merge(segments).array
    window = window_for(image.modality, [segment.label for segment in segments])
    drawn = mosaic(volume.array, labels=labels, spacing_mm=volume.spacing, n_tiles=n_tiles, window=window)
    capture = sc.encode(drawn[None], source=image, description="Segmentation overview")
    return RenderOverviewOutputs(Picture(png(drawn)), DicomCapture(capture[0]))
