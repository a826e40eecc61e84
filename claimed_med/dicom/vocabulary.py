"""Words that name anatomy, techniques and findings: they stay when free text is cleaned."""

from __future__ import annotations

import re
from functools import cache

_CAMEL = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_TERMS = frozenset(
    """
    pname datetime uidref scoord scoord3d tcoord composite waveform container contains has obs acq context properties
    concept inferred selected separate continuous final partial complete verified unverified original derived primary
    secondary axial localizer monochrome palette rgb ybr binary fractional labelmap closed planar manual automatic
    headneck chestabdomen abdomenpelvis chestabdpelvis wholebody cspine tspine lspine ctspine tlspine lsspine extremity
    semiautomatic point multipoint polyline circle ellipse ellipsoid polygon helical static magnitude resampled mixed
    """.split()
)
COMMON_WORDS = frozenset(
    """
    a ab abd abdo abdomen about above adc after again all also amount an and angio ankle any ap arm art arterial
    as asc asl at atrophy available ax axial axis base baseline be before below between bilat bilateral biopsy
    blade body bold bone both brain breast breath breathhold but by c cad calc cancer cardiac carotid case
    cervical change chest chronic cine clin clinical coil compared comparison complete con contrast control cor
    coronal course cta ctv cube cyst data days dce decreased deg delay delayed density desc diff diffuse
    diffusion disease dixon dose dti dual dwi dyn dynamic each early echo edema effusion enhanced enhancement
    epi evaluation exam examination ext extremity fa fat few ffe field film finding findings first fl flair flow
    fluid follow followup foot for frontal fs fse fu function gad gadolinium gd ge gr gradient gre guided had
    hand has haste have head heart hip history hr hx if image images imaging in increased indication inf infarct
    initial inj injection intact interval into is it iv joint kernel kidney knee kv l lat late lateral left leg
    lesion lesions liver loc local localiser localizer long low lower lspine lumbar lung lungs ma mag map
    mapping mass max mean med mediastinal medical mild mip mm moderate mono months more motion mpr mprage mr mra
    mri mrv multi nasal neck new no nodule nodules none normal not note noted number o of old on one only
    opacity or orbit other over pa pain part pass patient pca pd pelvis per perf perfusion pet phantom phase
    plain pneumonia portal post posterior pre prep previous prior proc procedure prone prop propeller proto
    protocol proton pt qa quality r rad range ratio rec recon reconstruction reformat reg region repeat report
    rest result results rf right rll routine sag sagittal scan scout screening se sec sedation seen sense seq
    sequence series severe short shoulder shows side signs since sinus size skull slab slice small soft space
    spair spec spgr spin spine spir spiral stable stack standard status std stir stress stroke study sub supine
    surgery surgical survey susceptibility swi symptoms t t1 t1w t2 t2w table taken te temporal test tfe tfl
    than that the then there thick thin third this thoracic thorax three ti time tir tirm to tof topogram total
    tr tra trace trans transverse trauma treatment true tse tspine tumor tumour turbo two type unchanged under
    upper us used values vein venous vessel vibe view views vol volume vs w was wb week weeks weight weighted
    well were wfi what when white with within without wo wrist x xr year years zone
    """.split()
)


@cache
def structural_words() -> frozenset[str]:
    """Words of DICOM's own keywords and of values by which objects are built: a name among them cannot be told apart.

    Source:
        DICOM PS3.6; PS3.3 defined terms.
    """
    from pydicom.datadict import DicomDictionary

    found = set(COMMON_WORDS) | _TERMS
    for *_, keyword in DicomDictionary.values():
        found.update(word.lower() for word in _CAMEL.findall(keyword) if len(word) > 2 and not word.isdigit())
    return frozenset(found)


@cache
def clinical_words() -> frozenset[str]:
    """Words of the code meanings of DICOM, SNOMED CT and others that pydicom carries, in lower case.

    Source:
        DICOM PS3.16, context groups.
    """
    from pydicom.sr._concepts_dict import concepts

    found = set(COMMON_WORDS)
    for scheme in concepts.values():
        for name in scheme:
            found.update(word.lower() for word in _CAMEL.findall(name) if len(word) > 1 and not word.isdigit())
    return frozenset(found)
