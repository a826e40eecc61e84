"""Choose series of a collection by a rule, and say of every other why not."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from claimed_med.dicom.rules import Rule, parse
from claimed_med.errors import InputError
from claimed_med.handles import DicomCollection

if TYPE_CHECKING:
    from pydicom import Dataset

    from claimed_med.handles import DicomSeries


def select(collection: DicomCollection, rule: str, mode: str) -> tuple[DicomCollection, dict[str, Any]]:
    """Choose series.

    Args:
        collection: Any mixture of studies.
        rule: As in `claimed_med.dicom.rules`.
        mode: `all` that match, or `exactly_one` in every study.

    Returns:
        The chosen series, and the report with every reason.

    Raises:
        ContractError: The rule cannot be read.
        InputError: With `exactly_one`: some study has none or several.
    """
    wanted = parse(rule)
    found = [(series, _judge(series, wanted)) for series in collection.series()]
    if mode == "exactly_one":
        _check_one_each(found)
    chosen = [series for series, told in found if told["selected"]]
    entries = sorted((told for _, told in found), key=lambda told: str(told["key"]))
    report = {"rule": rule, "mode": mode, "n_series": len(found), "n_selected": len(chosen), "series": entries}
    return DicomCollection(chosen), report


def _judge(series: Any, rule: Rule) -> dict[str, Any]:
    loaded = series.load()
    header = WithCounts(loaded.headers[0], {"NumberOfSlices": len(loaded.slices)})
    reasons = rule.why_not(header)
    return {
        "key": series.key,
        "modality": series.modality,
        "study_uid": str(loaded.headers[0].get("StudyInstanceUID", "")),
        "selected": not reasons,
        "why_not": reasons,
    }


class WithCounts:
    """A header with the counts that no attribute holds."""

    def __init__(self, header: Dataset, counts: dict[str, int]) -> None:
        self.header, self.counts = header, counts

    def get_item(self, tag: Any) -> Any:
        """The element, as a dataset gives it."""
        return self.header.get_item(tag)

    def get(self, keyword: str, default: Any = None) -> Any:
        """The value of a keyword or count."""
        return self.counts.get(keyword, self.header.get(keyword, default))


def _check_one_each(found: list[tuple[DicomSeries, dict[str, Any]]]) -> None:
    studies: dict[str, int] = defaultdict(int)
    for _, told in found:
        studies[told["study_uid"]] += bool(told["selected"])
    wrong = sorted(count for count in studies.values() if count != 1)
    if wrong:
        raise InputError(
            "select-series",
            f"{len(wrong)} of {len(studies)} studies do not have exactly one matching series",
            got=", ".join(map(str, wrong[:10])),
            allowed="1 in each",
            do="make the rule narrower or wider, or use mode all",
        )
