"""A study in the PACS in; its segmentation, measurement report and overview back into the PACS.

As `segment_and_report`, for studies that lie in an archive. Identifiers follow from the content, so a run that is
repeated stores the same objects again, not others.
"""

from collections.abc import Callable
from pathlib import Path

from kfp import components, dsl

HOME = Path(__file__).parent.parent / "components"


def component(category: str, name: str) -> Callable[..., dsl.PipelineTask]:
    """A component by its generated contract."""
    return components.load_component_from_file(str(HOME / category / name / "component.yaml"))


fetch_studies = component("input", "fetch-studies")
check_quality = component("filter", "check-quality")
select_series = component("filter", "select-series")
segment_body = component("predict", "segment-body")
segment_brain = component("predict", "segment-brain")
measure_segments = component("metric", "measure-segments")
render_overview = component("visualize", "render-overview")
store_objects = component("output", "store-objects")


def report_and_store(series: dsl.PipelineTask, segmented: dsl.PipelineTask, url: str) -> None:
    """Measure and draw what was segmented, and store all three."""
    segmentation = segmented.outputs["segmentation"]
    pair = {"series": series.outputs["selected"], "segmentation": segmentation}
    measured = measure_segments(**pair)
    drawn = render_overview(**pair)
    for made in (segmentation, measured.outputs["measurements"], drawn.outputs["capture"]):
        store_objects(objects=made, url=url).set_caching_options(False)


@dsl.pipeline(description="Studies of a PACS in; SEG, SR and overview back into it: brain of MR heads, body of CT.")
def pacs_segment_and_report(
    url: str,
    query: str,
    max_studies: int = 10,
    min_slices: int = 3,
    mr_rule: str = 'Modality == "MR" and NumberOfSlices >= 16 and BodyPartExamined ~ "head|brain"',
    ct_rule: str = 'Modality == "CT" and not ImageType ~ "LOCALIZER"',
) -> None:
    """Segment studies of a PACS, and report into it.

    Args:
        url: DICOMweb address of the PACS.
        query: Which studies: `Keyword=value&...` as QIDO-RS takes it, or StudyInstanceUIDs separated by commas.
        max_studies: Fail when more studies match.
        min_slices: Fewest slices of a volume.
        mr_rule: Which series are given to the brain network.
        ct_rule: Which series are given to the body algorithm.
    """
    fetched = fetch_studies(url=url, query=query, max_studies=max_studies).set_caching_options(False)
    checked = check_quality(series=fetched.outputs["collection"], min_slices=min_slices)

    heads = select_series(collection=checked.outputs["checked"], rule=mr_rule).set_display_name("select MR")
    with dsl.If(heads.outputs["n_selected"] > 0, name="mr-found"):
        report_and_store(heads, segment_brain(series=heads.outputs["selected"]), url)

    bodies = select_series(collection=checked.outputs["checked"], rule=ct_rule).set_display_name("select CT")
    with dsl.If(bodies.outputs["n_selected"] > 0, name="ct-found"):
        report_and_store(bodies, segment_body(series=bodies.outputs["selected"]), url)
