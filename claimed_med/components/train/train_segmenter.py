"""Train a segmentation network on volumes and their SEG objects."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Interval, component
from claimed_med.handles import DicomCollection, ModelBundle, Report, Table


class TrainSegmenterOutputs(NamedTuple):
    """What train_segmenter returns."""

    bundle: ModelBundle
    training: Report


@component(
    version="1.0.0",
    image="torch",
    threads=2,
    tags=("training", "segmentation", "monai"),
    example={
        "images": "segmented_volumes",
        "truths": "segmented_volumes",
        "cohort": "segmented_cohort",
        "recipe": "segmenter_small",
        "epochs": 2,
    },
)
def train_segmenter(
    images: DicomCollection,
    truths: DicomCollection,
    cohort: Table,
    *,
    recipe: str = "ct_segmenter",
    structures: list[str] = [],  # noqa: B006 - never changed
    epochs: Annotated[int, Interval(0, 10_000)] = 0,
    learning_rate: Annotated[float, Interval(0.0, 10.0)] = 0.0,
    batch_size: Annotated[int, Interval(0, 4096)] = 0,
    n_processes: Annotated[int, Interval(1, 64)] = 1,
    seed: Annotated[int, Interval(0, 2**31 - 1)] = 0,
    intended_use: str = "",
) -> TrainSegmenterOutputs:
    """Train a segmentation network on volumes and their SEG objects.

    Trains on patches of the rows with split `train`; the mean Dice over whole volumes with split `validation` chooses
    the epoch; rows with split `test` are never read. Deterministic and resumable as train-classifier.

    Args:
        images: Volumes of the cohort.
        truths: SEG objects that refer to them; other objects in the folder are left alone.
        cohort: With split, from split-cohort; `label` is not used.
        recipe: Name of a recipe of the package (ct_segmenter, segmenter_small), or the TOML text of one.
        structures: Labels of the segments to learn, in order; all that occur when empty.
        epochs: In place of the recipe's; 0 keeps it.
        learning_rate: In place of the recipe's; 0 keeps it.
        batch_size: In place of the recipe's; 0 keeps it.
        n_processes: Processes of this machine (DDP); on a cluster torchrun sets them.
        seed: Of weights, order, patches and augmentation.
        intended_use: A sentence for the model card.

    Returns:
        bundle: Weights, network, preparation, structures with their codes, validation Dice, model card.
        training: Curves of loss and validation Dice, as JSON and as a page.

    Raises:
        InputError: No row in a part, a volume without SEG, a structure that no SEG holds, pixels that are NaN.
        ContractError: An unknown network or recipe.
        ModelError: Not enough memory, or a loss that is not finite.

    Source:
        MONAI, doi:10.48550/arXiv.2211.02701; residual UNet, doi:10.1007/978-3-030-12029-0_40.
    """
    from claimed_med.dicom.training import segmentation_samples
    from claimed_med.models import recipe as recipes
    from claimed_med.models.training import train_bundle

    changes = {"epochs": epochs, "learning_rate": learning_rate, "batch_size": batch_size}
    chosen = recipes.load(recipe).changed(**{name: value for name, value in changes.items() if value})
    held = segmentation_samples(cohort.load(), images, truths, structures, chosen, "train-segmenter")
    bundle, report, page = train_bundle(
        chosen, held, n_processes=n_processes, seed=seed, intended_use=intended_use, where="train-segmenter"
    )
    return TrainSegmenterOutputs(ModelBundle(bundle), Report(report, html=page))
