"""Train an image classifier on a cohort."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Interval, component
from claimed_med.handles import DicomCollection, ModelBundle, Report, Table


class TrainClassifierOutputs(NamedTuple):
    """What train_classifier returns."""

    bundle: ModelBundle
    training: Report


@component(
    version="1.0.0",
    image="torch",
    threads=2,
    tags=("training", "classification", "monai"),
    example={"images": "import-xrays:images", "cohort": "split-cohort:split", "recipe": "xray_small", "epochs": 2},
)
def train_classifier(
    images: DicomCollection,
    cohort: Table,
    *,
    recipe: str = "xray_classifier",
    positive: str = "",
    operating_point: str = "youden",
    epochs: Annotated[int, Interval(0, 10_000)] = 0,
    learning_rate: Annotated[float, Interval(0.0, 10.0)] = 0.0,
    batch_size: Annotated[int, Interval(0, 4096)] = 0,
    n_processes: Annotated[int, Interval(1, 64)] = 1,
    seed: Annotated[int, Interval(0, 2**31 - 1)] = 0,
    intended_use: str = "",
) -> TrainClassifierOutputs:
    """Train an image classifier on a cohort.

    Trains on the rows with split `train`; rows with split `validation` choose epoch and threshold; rows with split
    `test` are never read. The same data, settings and seed give the same bits on the same processor. A run that was
    killed goes on from its last checkpoint, to the same weights. On a GPU when there is one.

    Args:
        images: Images of the cohort: radiographs (2D recipe) or volumes (3D recipe).
        cohort: With label and split, from split-cohort.
        recipe: Name of a recipe of the package (xray_classifier, xray_small), or the TOML text of one.
        positive: The class whose probability is the score; the last one in sorted order when empty.
        operating_point: How the threshold is chosen on validation: `youden`, `sensitivity>=0.9`, `specificity>=0.9`.
        epochs: In place of the recipe's; 0 keeps it.
        learning_rate: In place of the recipe's; 0 keeps it.
        batch_size: In place of the recipe's; 0 keeps it.
        n_processes: Processes of this machine (DDP); on a cluster torchrun sets them.
        seed: Of weights, order and augmentation.
        intended_use: A sentence for the model card.

    Returns:
        bundle: Weights, network, preparation, class order, threshold, validation metrics, model card.
        training: Curves of loss and validation AUC, as JSON and as a page.

    Raises:
        InputError: No row or one class in a part, pixels that are NaN, images that are missing.
        ContractError: An unknown network or recipe.
        ModelError: Not enough memory, or a loss that is not finite.

    Source:
        MONAI, doi:10.48550/arXiv.2211.02701; CheXNet (the X-ray recipe), doi:10.48550/arXiv.1711.05225.
    """
    from claimed_med.dicom.training import classification_samples
    from claimed_med.models import recipe as recipes
    from claimed_med.models.training import train_bundle

    changes = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size}
    chosen = recipes.load(recipe).changed(**{name: value for name, value in changes.items() if value})
    held = classification_samples(cohort.load(), images, chosen, "train-classifier")
    bundle, report, page = train_bundle(
        chosen,
        held,
        positive=positive,
        operating_point=operating_point,
        n_processes=n_processes,
        seed=seed,
        intended_use=intended_use,
        where="train-classifier",
    )
    return TrainClassifierOutputs(ModelBundle(bundle), Report(report, html=page))
