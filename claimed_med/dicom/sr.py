"""Write and read measurements of segments as TID 1500 reports (Comprehensive 3D SR)."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import highdicom as hd
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from claimed_med.dicom import slices
from claimed_med.dicom import source as origin
from claimed_med.dicom.equipment import MANUFACTURER, Maker, contribution, maker
from claimed_med.dicom.uid import stamp, uid_from
from claimed_med.errors import ContractError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from claimed_med.dicom.series import Series

SERIES_NUMBER = 9100
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging")
TRACKING_IDENTIFIER, TRACKING_UID, REFERENCED_SEGMENT = "112039", "112040", "121191"
MEASUREMENT_GROUP = "125007"


@dataclass(frozen=True)
class Measurement:
    """One number about one segment.

    Attributes:
        segment: Number of the segment in the segmentation.
        name: What was measured (`codes.SCT.Volume`).
        value: The number. NaN says that there is none (the mean of an empty segment); it is left out of the
            report, because most readers refuse a numeric item without a value, and the group stays.
        unit: UCUM code (`codes.UCUM.Milliliter`).
        derivation: How the number sums up many (`codes.SCT.Mean`), or None.
        method: Measurement method, or None.
    """

    segment: int
    name: Code
    value: float
    unit: Code
    derivation: Code | None = None
    method: Code | None = None


def encode(
    measurements: Iterable[Measurement], *, source: Series, segmentation: Dataset, title: str = "Measurements"
) -> hd.sr.Comprehensive3DSR:
    """Encode measurements as a TID 1500 report that refers to the segments and to every source instance.

    Args:
        measurements: Any order; they are grouped by segment.
        source: The series that was measured.
        segmentation: The Segmentation in which the segments are described.
        title: Series description.

    Returns:
        report: A valid, complete object; the same call gives the same bytes.

    Raises:
        ContractError: A segment that `segmentation` does not describe, or no measurement at all.
    """
    groups = _by_segment(measurements, segmentation)
    made_by = maker()
    series_uid = origin.source_series_uid(source)
    return document(
        [
            _group(descriptions_of(segmentation)[one], rows, made_by, segmentation, series_uid)
            for one, rows in groups.items()
        ],
        evidence=lambda header: _evidence(header, segmentation, source),
        source=source,
        seed=("sr", made_by.name, made_by.version, source.key, str(segmentation.SOPInstanceUID)),
        title=title,
    )


def document(
    groups: Sequence[Any],
    *,
    evidence: Callable[[Dataset], list[Dataset]],
    source: Series,
    seed: tuple[str, ...],
    title: str,
) -> hd.sr.Comprehensive3DSR:
    """A TID 1500 report of finished measurement groups; the same call gives the same bytes.

    Args:
        groups: Measurement groups of highdicom.
        evidence: Clean header of the source -> what the report rests on; the first lends patient and study.
        source: The series that was measured.
        seed: Decides the UIDs.
        title: Series description.
    """
    made_by = maker()
    date, time = origin.content_clock(source)
    header = origin.clean_header(source)
    with origin.anonymous(header) as made:
        report = hd.sr.Comprehensive3DSR(
            evidence=evidence(header),
            content=hd.sr.MeasurementReport(
                observation_context=hd.sr.ObservationContext(observer_device_context=_observer(made_by)),
                procedure_reported=IMAGING_PROCEDURE,
                title=codes.DCM.ImagingMeasurementReport,
                imaging_measurements=list(groups),
            )[0],
            series_instance_uid=uid_from(*seed),
            series_number=SERIES_NUMBER,
            sop_instance_uid=uid_from(*seed, "instance"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=made_by.name,
            software_versions=made_by.version,
            device_serial_number="0",
            series_description=title,
            is_complete=True,
            is_final=False,
            contributing_equipment=[contribution(made_by)],
            content_date=date,
            content_time=time,
        )
        made.append(report)
    stamp([report], seed="\n".join(seed))
    return report


def descriptions_of(segmentation: Dataset) -> dict[int, Dataset]:
    """Segment number -> its description."""
    return {int(item.SegmentNumber): item for item in segmentation.SegmentSequence}


def image_evidence(header: Dataset, source: Series) -> list[Dataset]:
    """Every source instance, as a report lists what it rests on; the first lends patient and study."""
    evidence: list[Dataset] = []
    for found in slices.instances(slices.source_planes(source)).values():
        item = Dataset() if evidence else copy.deepcopy(header)
        item.StudyInstanceUID = header.StudyInstanceUID
        item.SeriesInstanceUID = found[0].series_uid
        item.SOPClassUID, item.SOPInstanceUID = found[0].sop_class_uid, found[0].sop_uid
        evidence.append(item)
    return evidence


def _by_segment(measurements: Iterable[Measurement], segmentation: Dataset) -> dict[int, list[Measurement]]:
    described = {int(item.SegmentNumber) for item in segmentation.SegmentSequence}
    groups: dict[int, list[Measurement]] = {}
    for measurement in measurements:
        groups.setdefault(measurement.segment, []).append(measurement)
    unknown = sorted(set(groups) - described)
    if unknown or not groups:
        what = "segments that the segmentation does not describe" if unknown else "no measurement to report"
        raise ContractError("sr.encode", what, got=unknown or 0, allowed=f"segments {sorted(described)}")
    return dict(sorted(groups.items()))


def _evidence(header: Dataset, segmentation: Dataset, source: Series) -> list[Dataset]:
    """List what the report rests on: the segmentation first, which lends patient and study."""
    header.SOPClassUID, header.SOPInstanceUID = segmentation.SOPClassUID, segmentation.SOPInstanceUID
    header.SeriesInstanceUID = segmentation.SeriesInstanceUID
    return [header, *image_evidence(header, source)]


def _observer(made_by: Maker) -> hd.sr.ObserverContext:
    return hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=uid_from("device", made_by.name, made_by.version),
            name=made_by.name,
            manufacturer_name=MANUFACTURER,
            model_name=made_by.version,
        ),
    )


def _group(
    description: Dataset, rows: Sequence[Measurement], made_by: Maker, segmentation: Dataset, series_uid: str
) -> hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations:
    number = int(description.SegmentNumber)
    uid = description.get("TrackingUID") or uid_from(str(segmentation.SOPInstanceUID), "segment", str(number))
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=uid, identifier=description.get("TrackingID") or f"{description.SegmentLabel} {number}"
        ),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=segmentation.SOPClassUID,
            sop_instance_uid=segmentation.SOPInstanceUID,
            segment_number=number,
            source_series=hd.sr.SourceSeriesForSegmentation(series_uid),
        ),
        finding_type=hd.sr.CodedConcept.from_dataset(description.SegmentedPropertyTypeCodeSequence[0]),
        finding_category=hd.sr.CodedConcept.from_dataset(description.SegmentedPropertyCategoryCodeSequence[0]),
        algorithm_id=hd.sr.AlgorithmIdentification(
            name=made_by.name, version=made_by.version, manufacturer=MANUFACTURER
        ),
        measurements=[_numeric(row) for row in rows if math.isfinite(row.value)],
    )


def _numeric(row: Measurement) -> hd.sr.Measurement:
    return hd.sr.Measurement(
        name=row.name, value=float(row.value), unit=row.unit, derivation=row.derivation, method=row.method
    )


def decode(report: Dataset) -> tuple[Measurement, ...]:
    """Read the measurements of segments out of a TID 1500 report, ours or another's.

    A measurement of a group that refers to no segment has segment 0.

    Raises:
        InputError: Not a structured report.
    """
    if "ContentSequence" not in report:
        raise InputError("sr.decode", "not a structured report", got=str(report.get("SOPClassUID")))
    return tuple(found for group in _groups(report) for found in _measurements(group))


def _groups(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        if _name(child) == MEASUREMENT_GROUP:
            yield child
        else:
            yield from _groups(child)


def _name(item: Dataset) -> str:
    concept = item.get("ConceptNameCodeSequence")
    return str(concept[0].get("CodeValue", "")) if concept else ""


def _measurements(group: Dataset) -> Iterator[Measurement]:
    segment = 0
    for child in group.get("ContentSequence", []):
        if _name(child) == REFERENCED_SEGMENT and child.get("ReferencedSOPSequence"):
            numbers = child.ReferencedSOPSequence[0].get("ReferencedSegmentNumber")
            segment = int(numbers if isinstance(numbers, int) or not numbers else numbers[0]) if numbers else 0
    for child in group.get("ContentSequence", []):
        if child.get("ValueType") == "NUM":
            yield _measurement(child, segment)


def _measurement(item: Dataset, segment: int) -> Measurement:
    measured = item.get("MeasuredValueSequence")
    value = float(measured[0].NumericValue) if measured else math.nan
    unit = _code(measured[0].MeasurementUnitsCodeSequence[0]) if measured else codes.UCUM.NoUnits
    modifiers = {_name(child): child for child in item.get("ContentSequence", []) if child.get("ConceptCodeSequence")}
    derivation, method = modifiers.get("121401"), modifiers.get("370129005")
    return Measurement(
        segment=segment,
        name=_code(item.ConceptNameCodeSequence[0]),
        value=value,
        unit=unit,
        derivation=_code(derivation.ConceptCodeSequence[0]) if derivation is not None else None,
        method=_code(method.ConceptCodeSequence[0]) if method is not None else None,
    )


def _code(item: Dataset) -> Code:
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    return Code(str(value), str(item.get("CodingSchemeDesignator", "")), str(item.get("CodeMeaning", "")))


def to_html(report: Dataset) -> str:
    """Return the measurements of a report as an HTML table; no patient attribute is in it."""
    rows = "".join(
        f"<tr><td>{row.segment}</td><td>{escape(row.name.meaning)}</td>"
        f"<td>{escape(row.derivation.meaning) if row.derivation else ''}</td>"
        f"<td>{row.value:g}</td><td>{escape(row.unit.value)}</td></tr>"
        for row in decode(report)
    )
    head = "".join(f"<th>{name}</th>" for name in ("segment", "measurement", "derivation", "value", "unit"))
    return f"<table><tr>{head}</tr>{rows}</table>"
