"""C-ECHO and C-FIND: is a node there, and what does it hold. Answers are cut down to UIDs, modalities and counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pynetdicom import build_context
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind as StudyRootFind,
)
from pynetdicom.sop_class import Verification

from claimed_med.dicom.header import text, whole
from claimed_med.dicom.net_node import PENDING, SUCCESS, Node, association, check_uid, lost
from claimed_med.errors import ContractError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Level = Literal["study", "series", "instance"]
LEVELS: dict[Level, str] = {"study": "STUDY", "series": "SERIES", "instance": "IMAGE"}
_CANCELLED = 0xFE00
_ASKED: dict[Level, tuple[str, ...]] = {
    "study": (
        "StudyInstanceUID",
        "ModalitiesInStudy",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
    ),
    "series": ("StudyInstanceUID", "SeriesInstanceUID", "Modality", "NumberOfSeriesRelatedInstances"),
    "instance": ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"),
}


@dataclass(frozen=True)
class Match:
    """One answer to a query; what the node left out is '' or -1.

    Attributes:
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID, below the study level.
        instance_uid: SOPInstanceUID, at the instance level.
        sop_class_uid: SOPClassUID, at the instance level.
        modalities: Modalities of study or series, sorted.
        n_series: Series of the study, at the study level.
        n_instances: Instances of study or series.
    """

    study_uid: str
    series_uid: str = ""
    instance_uid: str = ""
    sop_class_uid: str = ""
    modalities: tuple[str, ...] = ()
    n_series: int = -1
    n_instances: int = -1


def echo(node: Node) -> None:
    """Ask a node whether it is there and knows us (C-ECHO).

    Raises:
        NoAssociationError: There is no association, or no answer.
        InputError: The answer is not success.
    """
    with association(node, [build_context(Verification)]) as opened:
        answer = opened.send_c_echo()
        if "Status" not in answer:
            raise lost("C-ECHO")
        if answer.Status != SUCCESS:
            raise failed("C-ECHO", answer.Status)


def find(node: Node, filters: Mapping[str, str], level: Level = "study", *, limit: int = 0) -> Iterator[Match]:
    """Ask a node what it holds (C-FIND, study root).

    Args:
        node: Whom to ask.
        filters: Keyword -> value to match, wildcards and ranges as in PS3.4 section C.2.2.2; never logged.
        level: Of the answers; series need a StudyInstanceUID among the filters, instances a SeriesInstanceUID too.
        limit: Most answers wanted; the query is cancelled then. 0: all.

    Yields:
        Matches in the order of the node.

    Raises:
        ContractError: A filter is no attribute, or one that the level needs is missing.
        NoAssociationError: There is no association, or it ended early.
        InputError: The node refuses, or answers with nonsense.
    """
    identifier = _identifier(filters, level)
    with association(node, [build_context(StudyRootFind)]) as opened:
        matches = list(_answers(opened, identifier, limit))
    yield from matches


def parse_query(words: str | Sequence[str]) -> dict[str, str]:
    """Read filters from `Keyword=value` texts, or from one text that joins them with `&`.

    Raises:
        ContractError: A text has another form, or no attribute has the keyword; values are not shown.
    """
    listed = [one for one in words.split("&") if one.strip()] if isinstance(words, str) else words
    filters: dict[str, str] = {}
    for number, word in enumerate(listed, start=1):
        keyword, found, value = word.partition("=")
        if not found:
            raise ContractError("query", f"filter {number} has no '='", allowed="Keyword=value")
        filters[keyword.strip()] = value.strip()
    for keyword in filters:
        _check_keyword(keyword)
    return filters


def failed(service: str, status: int) -> InputError:
    """The error for a status that is not success."""
    return InputError("network", f"{service} failed at the node", got=f"status 0x{status:04X}")


def _check_keyword(keyword: str) -> None:
    tag = tag_for_keyword(keyword)
    if tag is None or dictionary_VR(tag) in {"SQ", "OB", "OW", "OF", "OD", "UN"}:
        raise ContractError(
            "query", "a filter names no attribute that can be matched", allowed="keywords such as StudyDate, PatientID"
        )


def _identifier(filters: Mapping[str, str], level: Level) -> Dataset:
    needed = {"study": (), "series": ("StudyInstanceUID",), "instance": ("StudyInstanceUID", "SeriesInstanceUID")}
    missing = [one for one in needed[level] if not filters.get(one)]
    if missing:
        raise ContractError("query", f"the {level} level needs more filters", got="none", allowed=" and ".join(missing))
    identifier = Dataset()
    identifier.QueryRetrieveLevel = LEVELS[level]
    for keyword in _ASKED[level]:
        setattr(identifier, keyword, None if dictionary_VR(keyword) == "IS" else "")
    for keyword, value in filters.items():
        _check_keyword(keyword)
        setattr(identifier, keyword, value)
    if not all(value.isascii() for value in filters.values()):
        identifier.SpecificCharacterSet = "ISO_IR 192"
    return identifier


def _answers(opened: Any, identifier: Dataset, limit: int) -> Iterator[Match]:
    count, ended = 0, False
    for status, answer in opened.send_c_find(identifier, StudyRootFind):
        if "Status" not in status:
            raise lost("C-FIND")
        if status.Status in PENDING:
            count += 1
            if not limit or count <= limit:
                yield _match(answer)
            if limit and count == limit:
                opened.send_c_cancel(1, query_model=StudyRootFind)
            continue
        ended = True
        if status.Status not in {SUCCESS, _CANCELLED}:
            raise failed("C-FIND", status.Status)
    if not ended:
        raise lost("C-FIND")


def _match(answer: Dataset | None) -> Match:
    if answer is None:
        raise InputError("network", "an answer of the node to C-FIND cannot be decoded")
    below, deepest = "SeriesInstanceUID" in answer, "SOPInstanceUID" in answer
    keyword = "Modality" if below else "ModalitiesInStudy"
    counted = "NumberOfSeriesRelatedInstances" if below else "NumberOfStudyRelatedInstances"
    return Match(
        study_uid=check_uid(text(answer, "StudyInstanceUID")),
        series_uid=check_uid(text(answer, "SeriesInstanceUID")) if below else "",
        instance_uid=check_uid(text(answer, "SOPInstanceUID")) if deepest else "",
        sop_class_uid=text(answer, "SOPClassUID") if deepest else "",
        modalities=tuple(sorted({one for one in text(answer, keyword).split("\\") if _is_code(one)})),
        n_series=whole(answer, "NumberOfStudyRelatedSeries", -1),
        n_instances=whole(answer, counted, -1),
    )


def _is_code(value: str) -> bool:
    """Whether a text has the form of a modality (CS), and not that of free text."""
    return 0 < len(value) <= 16 and value.replace("_", "").isalnum() and value.isupper()
