"""Choose series by a rule on their attributes."""

from __future__ import annotations

from typing import Literal, NamedTuple

from claimed_med.component import component
from claimed_med.handles import DicomCollection, Report


class SelectSeriesOutputs(NamedTuple):
    """What select_series returns."""

    selected: DicomCollection
    selection: Report
    n_selected: int


@component(version="1.0.0", tags=("rules", "filter"), example={"collection": "collection", "rule": 'Modality == "CT"'})
def select_series(
    collection: DicomCollection,
    *,
    rule: str = "",
    mode: Literal["all", "exactly_one"] = "all",
) -> SelectSeriesOutputs:
    """Choose series by a rule on their attributes.

    A rule compares DICOM keywords: `Modality == "CT" and SliceThickness in [0, 5] and not SeriesDescription ~ "scout"`.
    Joined by and, or, not and brackets; `in [1, 5]` is a closed range, `in {"CT", "PT"}` one of several, `~` a regular
    expression, `exists` any value; NumberOfSlices counts the slices. Keywords that may identify a patient are refused,
    since rules are recorded. An empty selection is no error: branch on `n_selected`.

    Args:
        collection: Any mixture of studies; refused units of an earlier step are left out.
        rule: The rule; the empty rule chooses everything.
        mode: `all` that match, or `exactly_one` in every study.

    Returns:
        selected: The chosen series, a folder for each.
        selection: For every series whether it was chosen, and if not, every reason.
        n_selected: How many were chosen.

    Raises:
        ContractError: The rule cannot be read.
        InputError: With `exactly_one`: a study has none or several that match.
    """
    from claimed_med.dicom.selection import select

    chosen, report = select(collection, rule, mode)
    return SelectSeriesOutputs(chosen, Report(report), int(report["n_selected"]))
