"""From pictures and a table to a trained X-ray classifier that is blessed or refused, with every reason.

Import as DICOM, cohort, split by patient, training, prediction, performance, fairness, explanations, robustness, gate,
one report. A blessed model is packed for serving (ONNX); a refused one is kept with its reasons and goes no further.
"""

from collections.abc import Callable
from pathlib import Path

from kfp import components, dsl

HOME = Path(__file__).parent.parent / "components"


def component(category: str, name: str) -> Callable[..., dsl.PipelineTask]:
    """A component by its generated contract."""
    return components.load_component_from_file(str(HOME / category / name / "component.yaml"))


import_xrays = component("input", "import-xrays")
make_cohort = component("input", "make-cohort")
filter_cohort = component("filter", "filter-cohort")
split_cohort = component("transform", "split-cohort")
train_classifier = component("train", "train-classifier")
classify_images = component("predict", "classify-images")
measure_classification = component("metric", "measure-classification")
measure_fairness = component("metric", "measure-fairness")
explain_predictions = component("metric", "explain-predictions")
measure_robustness = component("metric", "measure-robustness")
bless_model = component("deploy", "bless-model")
render_study = component("visualize", "render-study")
export_onnx = component("deploy", "export-onnx")


@dsl.pipeline(description="Pictures and table in; a blessed or refused classifier with its reports out.")
def train_trusted_classifier(
    folder: str,
    table: str,
    cohort_rule: str = "",
    recipe: str = "xray_classifier",
    policy: str = "xray_classifier",
    epochs: int = 0,
    n_explained: int = 8,
    n_attacked: int = 40,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> None:
    """Train a trusted classifier.

    Args:
        folder: Folder with the pictures.
        table: CSV file with one row a picture.
        cohort_rule: Which rows are used; empty for all.
        recipe: Name of a recipe, or its TOML text.
        policy: Name of a policy, or its TOML text.
        epochs: In place of the recipe's; 0 keeps it.
        n_explained: Images that are explained.
        n_attacked: Most images for the robustness.
        n_bootstrap: Bootstrap samples of every interval.
        seed: Of split, training and all that is sampled.
    """
    imported = import_xrays(folder=folder, table=table).set_caching_options(False)
    images = imported.outputs["images"]
    cohort = make_cohort(images=images, labels=imported.outputs["labels"])
    kept = filter_cohort(cohort=cohort.outputs["cohort"], rule=cohort_rule)
    split = split_cohort(cohort=kept.outputs["kept"], seed=seed).outputs["split"]
    trained = train_classifier(images=images, cohort=split, recipe=recipe, epochs=epochs, seed=seed)
    bundle = trained.outputs["bundle"]
    predictions = classify_images(images=images, bundle=bundle).outputs["predictions"]
    judged = {"predictions": predictions, "cohort": split, "n_bootstrap": n_bootstrap, "seed": seed}
    performance = measure_classification(**judged).outputs["performance"]
    fairness = measure_fairness(**judged).outputs["fairness"]
    explained = explain_predictions(images=images, bundle=bundle, n_images=n_explained, **judged)
    robustness = measure_robustness(
        images=images, cohort=split, bundle=bundle, n_images=n_attacked, n_bootstrap=n_bootstrap, seed=seed
    ).outputs["robustness"]
    reports = {
        "performance": performance,
        "fairness": fairness,
        "explanation": explained.outputs["explanation"],
        "robustness": robustness,
    }
    blessing = bless_model(bundle=bundle, policy=policy, **reports)
    render_study(blessing=blessing.outputs["reasons"], training=trained.outputs["training"], **reports)
    with dsl.If(blessing.outputs["verdict"] == "blessed", name="blessed"):
        export_onnx(bundle=bundle, decision=blessing.outputs["decision"])
