"""Search the hyperparameters of a classifier."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from claimed_med.component import Interval, component
from claimed_med.handles import DicomCollection, ModelBundle, Report, Table


class SearchHyperparametersOutputs(NamedTuple):
    """What search_hyperparameters returns."""

    bundle: ModelBundle
    trials: Report


@component(
    version="1.0.0",
    image="torch",
    threads=2,
    tags=("optuna", "hyperparameters", "katib"),
    example={
        "images": "import-xrays:images",
        "cohort": "split-cohort:split",
        "recipe": "xray_small",
        "n_trials": 2,
        "epochs": 1,
    },
)
def search_hyperparameters(
    images: DicomCollection,
    cohort: Table,
    *,
    recipe: str = "xray_classifier",
    space: str = "xray_classifier",
    n_trials: Annotated[int, Interval(0, 10_000)] = 0,
    epochs: Annotated[int, Interval(0, 10_000)] = 0,
    positive: str = "",
    operating_point: str = "youden",
    seed: Annotated[int, Interval(0, 2**31 - 1)] = 0,
) -> SearchHyperparametersOutputs:
    """Search the hyperparameters of a classifier.

    Every trial trains on the rows with split `train` and is judged on `validation`; `test` is never read. Trials that
    were finished before a kill are not done again. The same search-space text also renders a Katib Experiment:
    `claimed-med manifest search-hyperparameters --target katib`.

    Args:
        images: Images of the cohort.
        cohort: With label and split.
        recipe: Where everything that is not searched comes from.
        space: Name of a search space of the package (xray_classifier), or the TOML text of one.
        n_trials: In place of the space's; 0 keeps it.
        epochs: In place of the recipe's; 0 keeps it.
        positive: As in train-classifier.
        operating_point: As in train-classifier.
        seed: Of sampler and trainings.

    Returns:
        bundle: The model of the best trial.
        trials: Every trial with its parameters and validation metric.

    Raises:
        InputError: As train-classifier.
        ContractError: A parameter that no recipe has.
        ModelError: No trial gave a value.

    Source:
        Akiba et al. 2019 (Optuna), doi:10.1145/3292500.3330701.
    """
    from dataclasses import replace
    from typing import Any

    from claimed_med import scratch, searchspace
    from claimed_med.dicom.training import classification_samples
    from claimed_med.errors import ContractError
    from claimed_med.models import recipe as recipes
    from claimed_med.models.search import search
    from claimed_med.models.training import train_bundle

    base = recipes.load(recipe)
    base = base.changed(epochs=epochs) if epochs else base
    chosen = searchspace.load(space)
    chosen = replace(chosen, n_trials=n_trials) if n_trials else chosen
    where = "search-hyperparameters"
    held = classification_samples(cohort.load(), images, base, where)
    options: dict[str, Any] = {"positive": positive, "operating_point": operating_point, "seed": seed, "where": where}

    def evaluate(drawn: dict[str, Any]) -> float:
        bundle, _, _ = train_bundle(base.changed(**drawn), held, **options)
        if chosen.objective not in bundle.metrics:
            known = ", ".join(bundle.metrics)
            raise ContractError(where, "objective is no metric", got=repr(chosen.objective), allowed=known)
        return bundle.metrics[chosen.objective]

    folder = scratch.folder()
    found = search(chosen, evaluate, seed=seed, storage=None if folder is None else folder / "trials.log")
    best, _, _ = train_bundle(base.changed(**found["best"]), held, **options)
    if folder is not None:
        (folder / "trials.log").unlink(missing_ok=True)
    return SearchHyperparametersOutputs(ModelBundle(best), Report({"kind": "search", "metrics": [], **found}))
