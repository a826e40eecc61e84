"""From prepared samples to a bundle, with the curves of its training."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch

from claimed_med import component, scratch
from claimed_med.errors import ContractError
from claimed_med.models import checkpoint, launch
from claimed_med.models.bundle import Bundle
from claimed_med.models.evaluate import METRICS, mean_auc
from claimed_med.models.fit import Fitted
from claimed_med.models.journal import tell_metrics
from claimed_med.models.recipe import Recipe
from claimed_med.models.samples import Samples
from claimed_med.trust import operating_point as points
from claimed_med.trust import page as pages
from claimed_med.trust import plot


class Held(Protocol):
    """What is known of the data: see `claimed_med.dicom.training.Held`."""

    classes: list[str]
    parts: dict[str, Samples]
    network: dict[str, Any]
    data: dict[str, Any]
    n_channels: int


def train_bundle(
    recipe: Recipe,
    held: Held,
    *,
    positive: str = "",
    operating_point: str = "youden",
    n_processes: int = 1,
    seed: int = 0,
    intended_use: str = "",
    where: str,
) -> tuple[Bundle, dict[str, Any], str]:
    """Train, choose the threshold on validation, and pack.

    Args:
        recipe: How.
        held: Samples and class names.
        positive: The class whose probability is the score; the last one when empty. Unused for segmentation.
        operating_point: How the threshold is chosen.
        n_processes: Processes of this machine.
        seed: Of everything random.
        intended_use: A sentence for the card.
        where: The component that speaks.

    Returns:
        The bundle, the report, and its page.

    Raises:
        ContractError: `positive` is no class.
        ModelError: As `fit`.
    """
    classifies = recipe.task == "classification"
    score_class = (positive or held.classes[-1]) if classifies else ""
    if classifies and score_class not in held.classes:
        raise ContractError(where, "positive is no class", got=repr(positive), allowed=", ".join(held.classes))
    folder = scratch.folder()
    fitted = launch.train(
        recipe,
        held.network,
        held.parts["train"],
        held.parts["validation"],
        n_classes=len(held.classes) if classifies else len(held.classes) + 1,
        seed=seed,
        n_processes=n_processes,
        folder=folder,
        logs=folder / "tensorboard" if folder is not None else None,
    )
    component.state(**fitted.notes)
    bundle = Bundle(
        classes=held.classes,
        positive=score_class,
        threshold=0.5,
        recipe=recipe,
        network_definition=held.network,
        weights=_single(fitted.weights),
        data=held.data,
        training={"seed": seed, "best_epoch": fitted.best_epoch, "history": fitted.history, **fitted.notes},
        intended_use=intended_use,
        n_channels=held.n_channels,
    )
    if classifies:
        _choose_threshold(bundle, held.parts["validation"], operating_point)
    else:
        best = fitted.history[fitted.best_epoch - 1]
        bundle.metrics = {"validation_dice": best["metric"]}
    tell_metrics(bundle.metrics)
    if folder is not None:
        checkpoint.remove(folder)
    report = _report(bundle, fitted)
    return bundle, report, _page(report)


def _choose_threshold(bundle: Bundle, validation: Samples, policy: str) -> None:
    step = 256  # not all at once: they may be more than fits into memory
    parts = [validation.images[start : start + step] for start in range(0, len(validation), step)]
    found = np.concatenate([bundle.probabilities(np.stack([one.numpy() for one in part])) for part in parts])
    scores = found[:, bundle.classes.index(bundle.positive)]
    truth = np.asarray(validation.targets) == bundle.classes.index(bundle.positive)
    bundle.threshold = float(points.choose(scores, truth, policy))
    called = scores >= bundle.threshold
    bundle.metrics = {
        "validation_auc": mean_auc(found, validation.targets),
        "validation_sensitivity": float(called[truth].mean()),
        "validation_specificity": float((~called[~truth]).mean()),
    }


def _single(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: one.float() if one.is_floating_point() else one for name, one in weights.items()}


def _report(bundle: Bundle, fitted: Fitted) -> dict[str, Any]:
    return {
        "kind": "training",
        "metrics": [],
        "task": bundle.task,
        "classes": bundle.classes,
        "positive": bundle.positive,
        "threshold": bundle.threshold,
        "validation": bundle.metrics,
        "history": fitted.history,
        "best_epoch": fitted.best_epoch,
        "notes": fitted.notes,
        "data": bundle.data["counts"],
    }


def _page(report: dict[str, Any]) -> str:
    history = report["history"]
    epochs = [entry["epoch"] for entry in history]
    figure, axes = plot.new()
    axes.plot(epochs, [entry["loss"] for entry in history], color=plot.COLOURS[0], marker=".", label="training loss")
    axes.set_xlabel("epoch")
    axes.set_ylabel("loss", color=plot.COLOURS[0])
    if history[0]["metric"] is not None:
        other = axes.twinx()
        other.plot(epochs, [entry["metric"] for entry in history], color=plot.COLOURS[1], marker=".")
        other.set_ylabel(f"validation {METRICS[report['task']]}", color=plot.COLOURS[1])
        other.set_ylim(0, 1.02)
    axes.axvline(report["best_epoch"], color="#888888", linewidth=0.8, linestyle="--")
    made = pages.Page("Training").picture(
        plot.png(figure), f"Loss and validation metric by epoch; epoch {report['best_epoch']} was chosen."
    )
    made.heading("Chosen on validation").table(["figure", "value"], list(report["validation"].items()))
    made.heading("Notes").table(["what", "value"], list(report["notes"].items()))
    return made.json(report).html()
