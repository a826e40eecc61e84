"""The attributes of acquisition technique that a derived image keeps from its source."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom import Dataset
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.uid import CTImageStorage, MRImageStorage, SecondaryCaptureImageStorage

from claimed_med.dicom.source import clean_element

if TYPE_CHECKING:
    from claimed_med.dicom.series import Series

# What describes the old pixels, the old grid, the old object, or is set anew.
LEFT_OUT = frozenset(
    """
    SOPClassUID SOPInstanceUID SpecificCharacterSet InstanceCreationDate InstanceCreationTime InstanceCreatorUID
    TimezoneOffsetFromUTC SeriesInstanceUID SeriesNumber SeriesDescription SeriesDate SeriesTime InstanceNumber
    ContentDate ContentTime ImageType DerivationDescription ImageComments PerformedProcedureStepStartDate
    PerformedProcedureStepStartTime PerformedProcedureStepEndDate PerformedProcedureStepEndTime
    ImagePositionPatient ImageOrientationPatient PixelSpacing SliceThickness SpacingBetweenSlices SliceLocation
    Rows Columns SamplesPerPixel PhotometricInterpretation PlanarConfiguration BitsAllocated BitsStored HighBit
    PixelRepresentation PixelData PixelAspectRatio SmallestImagePixelValue LargestImagePixelValue
    SmallestPixelValueInSeries LargestPixelValueInSeries PixelPaddingValue PixelPaddingRangeLimit RescaleSlope
    RescaleIntercept RescaleType RescaleIntercept ImagesInAcquisition NumberOfSlices NumberOfFrames
    PixelDataProviderURL ColorSpace ICCProfile LossyImageCompressionRatio ImageIndex AcquisitionMatrix
    AcquisitionUID SynchronizationTriggerSource PatientOrientation QualityControlImage InstanceOriginStatus
    ConversionType LongitudinalTemporalInformationModified SOPInstanceStatus GantryDetectorTilt
    AnatomicalOrientationType
    """.split()
)
KEPT_SEQUENCES = frozenset(
    """
    AnatomicRegionSequence RadiopharmaceuticalInformationSequence PatientOrientationCodeSequence
    PatientGantryRelationshipCodeSequence EnergyWindowRangeSequence
    """.split()
)
# Body parts (PS3.16 annex L) for which Laterality says nothing and must be absent.
UNPAIRED = frozenset(
    """
    SKULL CSPINE TSPINE LSPINE SSPINE COCCYX CHEST ABDOMEN PELVIS HEAD HEART NECK JAW BRAIN SPINE LIVER SPLEEN
    PANCREAS PROSTATE BLADDER UTERUS AORTA WHOLEBODY FACE NOSE MOUTH TONGUE LARYNX PHARYNX TRACHEA ESOPHAGUS
    STOMACH COLON RECTUM STERNUM MAXILLA THYROID CTSPINE TLSPINE LSSPINE CHESTABDOMEN CHESTABDPELVIS
    ABDOMENPELVIS HEADNECK NECKCHEST CERVIX PENIS VULVA VAGINA GALLBLADDER DUODENUM JEJUNUM ILEUM MEDIASTINUM
    CEREBELLUM
    """.split()
)
MANDATORY, TYPE_1, TYPE_2 = "M", "1", "2"
# Where a source of another form (enhanced, or incomplete) lacks a type 1 attribute.
DEFAULTS = {
    "ScanningSequence": "RM",
    "SequenceVariant": "NONE",
    "Units": "NONE",
    "CountsSource": "EMISSION",
    "SeriesType": ["STATIC", "IMAGE"],
    "DecayCorrection": "NONE",
    "FrameReferenceTime": "0",
    "DecayFactor": "1",
}
# Where an enhanced multi-frame source keeps what a single-frame image has at its root.
GROUPS = {
    "RepetitionTime": ("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
    "FlipAngle": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "EchoTrainLength": ("MRTimingAndRelatedParametersSequence", "EchoTrainLength"),
    "EchoTime": ("MREchoSequence", "EffectiveEchoTime"),
    "KVP": ("CTXRayDetailsSequence", "KVP"),
}


def technique(source: Series, sop_class: str) -> Dataset:
    """Return the attributes of the source that belong to `sop_class`, without geometry and pixels.

    Kept is what all slices agree on; of a type 1 or 2 attribute, where they differ, the first one's. What the
    class requires and the source lacks is empty (type 2) or has a neutral value (type 1).

    Args:
        source: The series that something was derived from.
        sop_class: CT, MR, PET or Secondary Capture Image Storage.
    """
    kept = Dataset()
    first, *others = source.headers
    for keyword, kind in _attributes(sop_class):
        element = clean_element(first, keyword) or _from_groups(first, keyword)
        if element is None:
            _fill(kept, keyword, kind)
        elif kind in {TYPE_1, TYPE_2} or all(_same(element.value, other, keyword) for other in others):
            kept.add(element)
    _settle_conditions(kept, sop_class)
    return kept


def _from_groups(header: Dataset, keyword: str) -> DataElement | None:
    sequence, inner = GROUPS.get(keyword, ("", ""))
    for groups in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        group = header[groups].value[0] if sequence and header.get(groups) else Dataset()
        found = clean_element(group[sequence].value[0], inner) if group.get(sequence) else None
        if found is not None:
            return DataElement(tag_for_keyword(keyword) or 0, dictionary_VR(keyword), found.value)
    return None


def _fill(kept: Dataset, keyword: str, kind: str) -> None:
    if kind == TYPE_2:
        setattr(kept, keyword, [] if _is_sequence(keyword) else "")
    elif kind == TYPE_1 and keyword in DEFAULTS:
        setattr(kept, keyword, DEFAULTS[keyword])


def _settle_conditions(kept: Dataset, sop_class: str) -> None:
    """Add or remove what the standard wants under a condition (type 2C)."""
    if str(kept.get("BodyPartExamined", "")) in UNPAIRED:
        kept.pop("Laterality", None)
    elif "Laterality" not in kept:
        kept.Laterality = ""
    if "PatientOrientationCodeSequence" in kept:
        kept.pop("PatientPosition", None)
    elif sop_class in {CTImageStorage, MRImageStorage} and "PatientPosition" not in kept:
        kept.PatientPosition = ""
    if sop_class == SecondaryCaptureImageStorage:
        kept.PatientOrientation = ""
    if sop_class == MRImageStorage:
        if "RepetitionTime" not in kept:
            kept.RepetitionTime = ""
        if "IR" not in str(kept.get("ScanningSequence", "")):
            kept.pop("InversionTime", None)
        if "CG" not in str(kept.get("ScanOptions", "")):
            kept.pop("TriggerTime", None)


def _same(value: object, other: Dataset, keyword: str) -> bool:
    element = clean_element(other, keyword)
    return element is not None and bool(element.value == value)


def _is_sequence(keyword: str) -> bool:
    try:
        return dictionary_VR(keyword) == "SQ"
    except KeyError:
        return True  # not in pydicom's dictionary: nothing that could be copied by keyword


@cache
def _attributes(sop_class: str) -> tuple[tuple[str, str], ...]:
    """List (keyword, type) of the root attributes of series, equipment, frame of reference and image."""
    modules = get_iod_module_map()[get_sop_class_iod_map()[sop_class]]
    attributes = get_module_attribute_map()
    found: dict[str, str] = {}
    for module in modules:
        if module["ie"] in {"Patient", "Study"} or module["usage"] == "U":
            continue
        for attribute in attributes[module["key"]]:
            keyword, kind = str(attribute["keyword"]), str(attribute["type"])
            if attribute["path"] or keyword in LEFT_OUT or (_is_sequence(keyword) and keyword not in KEPT_SEQUENCES):
                continue
            strict = kind if module["usage"] == MANDATORY else "3"
            found[keyword] = min(found.get(keyword, "9"), strict)
    return tuple(found.items())
