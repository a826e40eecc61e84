"""From the hospital's archive to the research archive: studies without their patients.

Studies that a query finds are retrieved, de-identified and checked; what the check blesses is stored, what it refuses
stays here with the reasons. The secret is in the environment (CLAIMED_MED_SECRET or CLAIMED_MED_SECRET_FILE).
"""

from collections.abc import Callable
from pathlib import Path

from kfp import components, dsl

HOME = Path(__file__).parent.parent / "components"


def component(category: str, name: str) -> Callable[..., dsl.PipelineTask]:
    """A component by its generated contract."""
    return components.load_component_from_file(str(HOME / category / name / "component.yaml"))


fetch_studies = component("input", "fetch-studies")
deidentify_dicom = component("transform", "deidentify-dicom")
check_deidentification = component("filter", "check-deidentification")
store_deidentified = component("output", "store-deidentified")


@dsl.pipeline(description="Studies of an archive in; de-identified, checked and stored in a research archive.")
def deidentify_for_research(
    source_url: str,
    query: str,
    target_url: str,
    profile: str = "research",
    max_studies: int = 100,
) -> None:
    """De-identify for research.

    Args:
        source_url: DICOMweb address of the hospital's archive.
        query: Which studies: `Keyword=value&...` as QIDO-RS takes it, or StudyInstanceUIDs separated by commas.
        target_url: DICOMweb address of the research archive.
        profile: De-identification profile: `research`, `strict`, or TOML text.
        max_studies: Fail when more studies match.
    """
    fetched = fetch_studies(url=source_url, query=query, max_studies=max_studies).set_caching_options(False)
    made = deidentify_dicom(files=fetched.outputs["collection"], profile=profile)
    checked = check_deidentification(
        deidentified=made.outputs["deidentified"], audit=made.outputs["audit"], profile=profile
    )
    with dsl.If(checked.outputs["verdict"] == "blessed", name="blessed"):
        store_deidentified(
            deidentified=made.outputs["deidentified"], decision=checked.outputs["decision"], url=target_url
        ).set_caching_options(False)
