"""A folder of studies in; the studies without their patients, and segmentation, report and overview of those, out.

What the check blesses is segmented, measured and drawn; what it refuses goes no further, with the reasons in its
report. The secret is in the environment (CLAIMED_MED_SECRET or CLAIMED_MED_SECRET_FILE). The router sends the outputs
on (docs/routing.md).
"""

from collections.abc import Callable
from pathlib import Path

from kfp import components, dsl

HOME = Path(__file__).parent.parent / "components"


def component(category: str, name: str) -> Callable[..., dsl.PipelineTask]:
    """A component by its generated contract."""
    return components.load_component_from_file(str(HOME / category / name / "component.yaml"))


load_folder = component("input", "load-folder")
deidentify_dicom = component("transform", "deidentify-dicom")
check_deidentification = component("filter", "check-deidentification")
check_quality = component("filter", "check-quality")
select_series = component("filter", "select-series")
segment_brain = component("predict", "segment-brain")
segment_body = component("predict", "segment-body")
measure_segments = component("metric", "measure-segments")
render_overview = component("visualize", "render-overview")
validate_objects = component("output", "validate-objects")


def report(series: dsl.PipelineTask, segmentation: dsl.PipelineTask) -> None:
    """Measure, draw and validate what was segmented."""
    pair = {"series": series.outputs["selected"], "segmentation": segmentation.outputs["segmentation"]}
    measured = measure_segments(**pair)
    drawn = render_overview(**pair)
    validate_objects(**pair, measurements=measured.outputs["measurements"], capture=drawn.outputs["capture"])


@dsl.pipeline(description="Folder of studies in; de-identified studies with SEG, SR and overview out.")
def deidentify_and_report(
    path: str,
    profile: str = "research",
    min_slices: int = 3,
    mr_rule: str = 'Modality == "MR" and NumberOfSlices >= 16 and BodyPartExamined ~ "head|brain"',
    ct_rule: str = 'Modality == "CT" and not ImageType ~ "LOCALIZER"',
) -> None:
    """De-identify, segment and report.

    Args:
        path: Folder of DICOM studies, any tree.
        profile: De-identification profile: `research`, `strict`, or TOML text.
        min_slices: Fewest slices of a volume.
        mr_rule: Which series are given to the brain network.
        ct_rule: Which series are given to the body algorithm.
    """
    loaded = load_folder(path=path).set_caching_options(False)
    made = deidentify_dicom(files=loaded.outputs["collection"], profile=profile)
    checked = check_deidentification(
        deidentified=made.outputs["deidentified"], audit=made.outputs["audit"], profile=profile
    )
    with dsl.If(checked.outputs["verdict"] == "blessed", name="blessed"):
        sound = check_quality(series=made.outputs["deidentified"], min_slices=min_slices)

        heads = select_series(collection=sound.outputs["checked"], rule=mr_rule).set_display_name("select MR")
        with dsl.If(heads.outputs["n_selected"] > 0, name="mr-found"):
            report(heads, segment_brain(series=heads.outputs["selected"]))

        bodies = select_series(collection=sound.outputs["checked"], rule=ct_rule).set_display_name("select CT")
        with dsl.If(bodies.outputs["n_selected"] > 0, name="ct-found"):
            report(bodies, segment_body(series=bodies.outputs["selected"]))
