"""Write and read what a classifier says of an image, as a TID 1500 report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import highdicom as hd
from pydicom import Dataset
from pydicom.sr.coding import Code

from claimed_med.dicom import slices, sr
from claimed_med.dicom.codes import ARTIFICIAL_INTELLIGENCE
from claimed_med.dicom.equipment import MANUFACTURER, maker
from claimed_med.dicom.uid import uid_from
from claimed_med.lineage import digest

if TYPE_CHECKING:
    from claimed_med.dicom.series import Series

SCHEME = "99CLAIMEDMED"  # private: classes are whatever a training table called them
CERTAINTY = Code("111012", "DCM", "Certainty of finding")
PERCENT = Code("%", "UCUM", "Percent")
PROBABILITY = Code("PROBABILITY", SCHEME, "Class probability")
THRESHOLD = Code("THRESHOLD", SCHEME, "Decision threshold")
# not DCM's "Finding": that names the class in question, whether the image is called so or not
CALLED = Code("CALLED_CLASS", SCHEME, "Class that the image is called")
LONGEST_CODE, LONGEST_MEANING = 16, 64


@dataclass(frozen=True)
class Classification:
    """What a classifier says of one image.

    Attributes:
        probabilities: Class -> probability, in the order of the model.
        positive: The class whose probability is the score.
        threshold: Score from which the image is called positive.
        predicted: The class that it is called.
        model: Digest of the model bundle.
    """

    probabilities: Mapping[str, float]
    positive: str
    threshold: float
    predicted: str
    model: str


def encode(found: Classification, *, source: Series) -> hd.sr.Comprehensive3DSR:
    """Encode a classification as a report that refers to every source instance.

    The finding is the class in question; the score is its Certainty of finding [%], the threshold has the same unit;
    what the image is called by it is a qualitative evaluation; each class has its probability; the model is identified
    by its digest in the algorithm's parameters.

    Args:
        found: What was predicted.
        source: The image or volume.

    Returns:
        report: A valid, complete object; the same call gives the same bytes.
    """
    made_by = maker()
    seed = ("classification", made_by.name, made_by.version, source.key, found.model)
    planes = slices.instances(slices.source_planes(source)).values()
    group = hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=uid_from(*seed, "tracking"), identifier=f"{made_by.name} {source.key}"
        ),
        finding_type=_class_code(found.positive),
        algorithm_id=hd.sr.AlgorithmIdentification(
            name=made_by.name,
            version=made_by.version,
            manufacturer=MANUFACTURER,
            family=ARTIFICIAL_INTELLIGENCE,
            parameters=[f"model sha256 {found.model}", f"threshold {found.threshold:.6f}"],
        ),
        measurements=[
            hd.sr.Measurement(name=CERTAINTY, value=_percent(found.probabilities[found.positive]), unit=PERCENT),
            hd.sr.Measurement(name=THRESHOLD, value=_percent(found.threshold), unit=PERCENT),
            *(
                hd.sr.Measurement(name=PROBABILITY, value=_percent(value), unit=PERCENT, method=_class_code(name))
                for name, value in found.probabilities.items()
            ),
        ],
        qualitative_evaluations=[hd.sr.QualitativeEvaluation(name=CALLED, value=_class_code(found.predicted))],
        source_images=[hd.sr.SourceImageForMeasurementGroup(one[0].sop_class_uid, one[0].sop_uid) for one in planes],
    )
    return sr.document(
        [group],
        evidence=lambda header: sr.image_evidence(header, source),
        source=source,
        seed=seed,
        title="Classification",
    )


def decode(report: Dataset) -> tuple[float, str]:
    """The score [0, 1] and the called class of a report that `encode` made.

    Raises:
        InputError: Not a structured report.
        LookupError: A report of something else.
    """
    score = next(one.value / 100 for one in sr.decode(report) if one.name.value == CERTAINTY.value)
    return score, _called(report)


def _called(item: Dataset) -> str:
    for child in item.get("ContentSequence", []):
        concept = child.get("ConceptNameCodeSequence")
        if concept and concept[0].get("CodeValue") == CALLED.value and child.get("ValueType") == "CODE":
            value = child.ConceptCodeSequence[0]
            if value.CodingSchemeDesignator == SCHEME:
                return str(value.CodeMeaning)
        if found := _called(child):
            return found
    return ""


def _class_code(name: str) -> Code:
    short = "".join(one for one in name.upper() if (one.isascii() and one.isalnum()) or one in "_-") or "CLASS"
    if len(short) > LONGEST_CODE:  # what is cut off must not make two classes one
        short = f"{short[: LONGEST_CODE - 7]}_{digest(name)[:6].upper()}"
    return Code(short, SCHEME, name[:LONGEST_MEANING])


def _percent(value: float) -> float:
    return round(100.0 * value, 6)
