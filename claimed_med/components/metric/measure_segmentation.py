"""Measure how well a segmentation model performs over many cases."""

from __future__ import annotations

from typing import Annotated

from claimed_med.component import Interval, component
from claimed_med.handles import Report


@component(
    version="1.0.0",
    group="performance",
    tags=("dice", "hausdorff", "normalised surface distance", "bootstrap"),
    example={"comparisons": "compare-segments:scores", "n_bootstrap": 100},
)
def measure_segmentation(
    comparisons: Report,
    *,
    n_bootstrap: Annotated[int, Interval(100, 100_000)] = 1000,
    seed: Annotated[int, Interval(0, 2**31 - 1)] = 0,
) -> Report:
    """Measure how well a segmentation model performs over many cases.

    Mean and median of Dice, HD95, NSD and mean surface distance per structure, with intervals (95 %) by bootstrap of
    the cases. A structure that the reference has and the segmentation lacks counts as Dice and NSD 0; what is
    undefined (the distance to nothing) is counted beside.

    Args:
        comparisons: Scores of compare-segments, one unit a case.
        n_bootstrap: Bootstrap samples.
        seed: Of the bootstrap.

    Returns:
        performance: Figures per structure, every case, a picture and a page.

    Raises:
        InputError: No case, or reports of something else.

    Source:
        Maier-Hein et al. 2024, doi:10.1038/s41592-023-02151-z; Nikolov et al. 2021 (NSD), doi:10.2196/26151.
    """
    from claimed_med.errors import InputError
    from claimed_med.trust import segmentation
    from claimed_med.trust.metric import rows

    cases = comparisons.each()
    foreign = [key for key, told in cases.items() if not {"segments", "only_in_reference"} <= set(told)]
    if foreign or not cases:
        raise InputError("measure-segmentation", "needs scores of compare-segments", got=f"{len(foreign)} other reports")
    structures = segmentation.collect(cases)
    report = {
        "kind": "segmentation",
        "n_cases": len(cases),
        "metrics": rows(segmentation.metrics_of(structures, n_bootstrap, seed)),
        "cases": structures,
    }
    drawn = segmentation.picture(structures)
    return Report(report, html=segmentation.page(report, drawn), pictures={"dice.png": drawn})
