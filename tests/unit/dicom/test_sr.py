from __future__ import annotations

import math
from io import BytesIO

import highdicom as hd
import pytest
from pydicom import dcmread

from claimed_med.dicom import codes, seg, sr, uid, validate
from claimed_med.errors import ContractError, InputError


@pytest.fixture
def source(made_series):
    return made_series()


@pytest.fixture
def segmentation(source, two_boxes):
    return seg.encode(hd.Volume(two_boxes, source.affine, "PATIENT"), source=source, segments="lungs")


MEASUREMENTS = (
    sr.Measurement(1, codes.VOLUME, 12.5, codes.MILLILITER),
    sr.Measurement(1, codes.ATTENUATION, -812.25, codes.HOUNSFIELD_UNIT, derivation=codes.MEAN),
    sr.Measurement(2, codes.LARGEST_DIAMETER, 1e-7, codes.MILLIMETER),
)


def test_measurements_come_back_as_they_were_written(source, segmentation):
    report = dcmread(BytesIO(uid.to_bytes(sr.encode(MEASUREMENTS, source=source, segmentation=segmentation))))
    assert sr.decode(report) == MEASUREMENTS


def test_highdicom_reads_the_report(source, segmentation):
    raw = uid.to_bytes(sr.encode(MEASUREMENTS, source=source, segmentation=segmentation))
    report = hd.sr.srread(BytesIO(raw))
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_uid for group in groups] == [item.TrackingUID for item in segmentation.SegmentSequence]


def test_report_is_valid_dicom(source, segmentation):
    assert validate.errors(validate.validate(sr.encode(MEASUREMENTS, source=source, segmentation=segmentation))) == []


def test_report_rests_on_the_segmentation_and_on_every_source_instance(source, segmentation):
    report = sr.encode(MEASUREMENTS, source=source, segmentation=segmentation)
    keywords = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
    evidence = {
        item.ReferencedSOPInstanceUID
        for keyword in keywords
        for study in report.get(keyword, ())
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert evidence == {segmentation.SOPInstanceUID, *(header.SOPInstanceUID for header in source.headers)}


def test_what_could_not_be_measured_is_left_out(source, segmentation):
    nothing = sr.Measurement(2, codes.ATTENUATION, math.nan, codes.HOUNSFIELD_UNIT, derivation=codes.MEAN)
    report = sr.encode([MEASUREMENTS[0], nothing], source=source, segmentation=segmentation)
    assert sr.decode(report) == MEASUREMENTS[:1]
    assert validate.errors(validate.validate(report)) == []


def test_a_segment_that_is_not_there_is_refused(source, segmentation):
    with pytest.raises(ContractError, match=r"got \[9\]"):
        sr.encode([sr.Measurement(9, codes.VOLUME, 1.0, codes.MILLILITER)], source=source, segmentation=segmentation)


def test_something_else_is_no_report(segmentation):
    with pytest.raises(InputError, match="not a structured report"):
        sr.decode(segmentation)


def test_same_call_gives_the_same_bytes(source, segmentation):
    one, two = (uid.to_bytes(sr.encode(MEASUREMENTS, source=source, segmentation=segmentation)) for _ in range(2))
    assert one == two
