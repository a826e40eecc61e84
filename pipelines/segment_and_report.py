"""From a folder of studies to segmentations, measurement reports and overviews, all as DICOM.

Every CT volume gets its body segmented, every MR of a whole head its brain; what is no sound volume, or no such
image, is quarantined with the reason. Compile with `claimed-med pipeline compile segment_and_report`.
"""

from collections.abc import Callable
from pathlib import Path

from kfp import components, dsl

HOME = Path(__file__).parent.parent / "components"


def component(category: str, name: str) -> Callable[..., dsl.PipelineTask]:
    """A component by its generated contract."""
    return components.load_component_from_file(str(HOME / category / name / "component.yaml"))


load_folder = component("input", "load-folder")
check_quality = component("filter", "check-quality")
select_series = component("filter", "select-series")
segment_brain = component("predict", "segment-brain")
segment_body = component("predict", "segment-body")
measure_segments = component("metric", "measure-segments")
render_overview = component("visualize", "render-overview")
validate_objects = component("output", "validate-objects")


MR_RULE = (
    'Modality == "MR" and NumberOfSlices >= 16 and (BodyPartExamined ~ "head|brain" or not BodyPartExamined exists)'
)


def report(series: dsl.PipelineTask, segmentation: dsl.PipelineTask) -> None:
    """Measure, draw and validate what was segmented."""
    pair = {"series": series.outputs["selected"], "segmentation": segmentation.outputs["segmentation"]}
    measured = measure_segments(**pair)
    drawn = render_overview(**pair)
    validate_objects(**pair, measurements=measured.outputs["measurements"], capture=drawn.outputs["capture"])


@dsl.pipeline(description="Folder of studies in; SEG, SR and overview out: brain of MR heads, body of CT.")
def segment_and_report(
    path: str,
    min_slices: int = 3,
    mr_rule: str = MR_RULE,
    ct_rule: str = 'Modality == "CT" and not ImageType ~ "LOCALIZER"',
) -> None:
    """Segment and report.

    Args:
        path: Folder of DICOM studies, any tree.
        min_slices: Fewest slices of a volume.
        mr_rule: Which series are given to the brain network.
        ct_rule: Which series are given to the body algorithm.
    """
    loaded = load_folder(path=path).set_caching_options(False)
    checked = check_quality(series=loaded.outputs["collection"], min_slices=min_slices)

    heads = select_series(collection=checked.outputs["checked"], rule=mr_rule).set_display_name("select MR")
    with dsl.If(heads.outputs["n_selected"] > 0, name="mr-found"):
        report(heads, segment_brain(series=heads.outputs["selected"]))

    bodies = select_series(collection=checked.outputs["checked"], rule=ct_rule).set_display_name("select CT")
    with dsl.If(bodies.outputs["n_selected"] > 0, name="ct-found"):
        report(bodies, segment_body(series=bodies.outputs["selected"]))
