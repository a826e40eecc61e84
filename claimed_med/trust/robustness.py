"""How accuracy and AUC fall when images get worse, or when somebody attacks them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from claimed_med.trust import plot
from claimed_med.trust.ablation import Probabilities
from claimed_med.trust.attack import BLACK_BOX, EPSILONS, WHITE_BOX, attack
from claimed_med.trust.bootstrap import interval, patient_weights
from claimed_med.trust.corruption import CORRUPTIONS, corrupt
from claimed_med.trust.metric import Metric, shown
from claimed_med.trust.page import Page
from claimed_med.trust.performance import Scored, auc

Floats = npt.NDArray[np.float32]
# what a black-box attack may do better than a white-box one before its gradients are called masked
MASKING_MARGIN = 0.05
_EXAMPLES = 3


@dataclass
class Subject:
    """A model with the images on which it is tested.

    Attributes:
        probabilities: (n, channel, *spatial) -> (n, class).
        network: Or None for an ONNX model.
        images: Shape (n, channel, *spatial), float32 in [0, 1].
        targets: True class of each, in the order of the model.
        patients: Patient of each.
        positive: Column of the positive class.
        threshold: Of the score.
        n_classes: Number of classes.
    """

    probabilities: Probabilities
    network: nn.Module | None
    images: Floats
    targets: npt.NDArray[np.int64]
    patients: npt.NDArray[np.str_]
    positive: int
    threshold: float
    n_classes: int


@dataclass(frozen=True)
class Curve:
    """Figures of one corruption or attack by strength; the first strength is 0.

    Attributes:
        kind: `corruption` or `attack`.
        name: Which one.
        strengths: From 0.
        accuracy: One metric a strength.
        auc: One metric a strength.
    """

    kind: str
    name: str
    strengths: list[float]
    accuracy: list[Metric]
    auc: list[Metric]


def measure(
    subject: Subject,
    *,
    corruptions: Sequence[str],
    attacks: Sequence[str],
    n_bootstrap: int,
    seed: int,
    progress: Callable[[], None] = lambda: None,
) -> tuple[list[Curve], list[str]]:
    """Test a model under every corruption and attack.

    Args:
        subject: Model and images.
        corruptions: Names of `CORRUPTIONS`.
        attacks: Names of `ATTACKS`; those that need gradients are left out for an ONNX model, and noted.
        n_bootstrap: Bootstrap samples of patients.
        seed: Of everything random.
        progress: Called after each strength.

    Returns:
        The curves, and notes.
    """
    weights = np.concatenate(
        [np.ones((1, len(subject.targets))), patient_weights(list(subject.patients), n_bootstrap, seed)]
    )
    clean = _figures(subject, subject.images, weights)
    curves, notes = [], []
    for name in corruptions:
        points = [clean]
        for strength in CORRUPTIONS[name].strengths:
            changed = [corrupt(name, one, strength, seed + number) for number, one in enumerate(subject.images)]
            points.append(_figures(subject, np.stack(changed), weights))
            progress()
        curves.append(_curve("corruption", name, [0.0, *map(float, CORRUPTIONS[name].strengths)], points))
    for name in attacks:
        if subject.network is None and name not in BLACK_BOX:
            notes.append(f"{name} was left out: an ONNX model has no gradients")
            continue
        if name in BLACK_BOX and subject.images.ndim != 4:
            notes.append(f"{name} was left out: it is for 2D images")
            continue
        points = [clean]
        for epsilon in EPSILONS:
            points.append(_figures(subject, attacked(subject, name, epsilon, seed), weights))
            progress()
        curves.append(_curve("attack", name, [0.0, *EPSILONS], points))
    return curves, [*notes, *masked_gradients(curves)]


def attacked(subject: Subject, name: str, epsilon: float, seed: int) -> Floats:
    """All images of the subject under one attack."""
    return attack(
        name,
        subject.images,
        subject.targets,
        epsilon,
        network=subject.network,
        probabilities=subject.probabilities,
        n_classes=subject.n_classes,
        seed=seed,
    )


def masked_gradients(curves: Sequence[Curve]) -> list[str]:
    """A note when an attack without gradients does more harm than one with: gradients then tell nothing."""
    by_name = {one.name: one for one in curves if one.kind == "attack"}
    black = [by_name[one] for one in BLACK_BOX if one in by_name]
    white = [by_name[one] for one in WHITE_BOX if one in by_name]
    if not black or not white:
        return []
    strongest = [min(float(one.accuracy[step].value or 0.0) for one in white) for step in range(1, len(EPSILONS) + 1)]
    found = [float(black[0].accuracy[step].value or 0.0) for step in range(1, len(EPSILONS) + 1)]
    masked = any(here < there - MASKING_MARGIN for here, there in zip(found, strongest, strict=True))
    return (
        ["gradients seem to be masked: the black-box attack does more harm than the white-box ones"] if masked else []
    )


def metrics_of(curves: Sequence[Curve]) -> list[Metric]:
    """Figures by strength, and `robust_accuracy`: the mean accuracy over the strengths of a corruption or attack."""
    found = []
    for curve in curves:
        for strength, accuracy, area in zip(curve.strengths[1:], curve.accuracy[1:], curve.auc[1:], strict=True):
            unit = "strength" if curve.kind == "corruption" else "epsilon"
            group = f"{curve.kind}={curve.name} & {unit}={strength:.4g}"
            found += [_named("accuracy", group, accuracy), _named("auc", group, area)]
        values = [float(one.value or 0.0) for one in curve.accuracy[1:]]
        lows, highs = ([getattr(one, end) for one in curve.accuracy[1:]] for end in ("low", "high"))
        found.append(
            Metric(
                "robust_accuracy",
                float(np.mean(values)),
                f"{curve.kind}={curve.name}",
                float(np.mean(lows)),
                float(np.mean(highs)),
                curve.accuracy[0].n,
            )
        )
    if curves:
        found += [_named("accuracy", "all", curves[0].accuracy[0]), _named("auc", "all", curves[0].auc[0])]
    return found


def pictures(curves: Sequence[Curve], subject: Subject, seed: int) -> dict[str, bytes]:
    """Curves, and examples of the fast gradient sign method: file name -> PNG."""
    made = {}
    for kind in ("corruption", "attack"):
        chosen = [one for one in curves if one.kind == kind]
        if chosen:
            made[f"{kind}s.png"] = plot.png(_drawn(chosen, kind))
    if subject.network is not None and subject.images.ndim == 4:
        made["fgsm_examples.png"] = plot.png(_examples(subject, seed))
    return made


def page(report: Mapping[str, Any], drawn: Mapping[str, bytes]) -> str:
    """The page of a robustness report."""
    made = Page("Robustness")
    made.paragraph(f"{report['n_images']} images; accuracy at the threshold that was chosen on validation images.")
    for note in report["notes"]:
        made.paragraph(note, tone="bad")
    alts = {
        "corruptions.png": "Accuracy against the strength of what happens in hospitals, with 95 % intervals",
        "attacks.png": "Accuracy against the largest change of a pixel, with 95 % intervals",
        "fgsm_examples.png": "Fast gradient sign examples: image, change x 10, attacked image, with scores",
    }
    for name, content in drawn.items():
        made.picture(content, alts[name])
    lines = [
        [one["group"], shown(one["value"], one["low"], one["high"])]
        for one in report["metrics"]
        if one["name"] == "robust_accuracy"
    ]
    return made.heading("Mean accuracy").table(["of", "value (95 % interval)"], lines).json(report).html()


def _figures(subject: Subject, images: Floats, weights: npt.NDArray[np.float64]) -> tuple[Metric, Metric]:
    found = subject.probabilities(images)
    scores = found[:, subject.positive]
    truth = subject.targets == subject.positive
    if subject.n_classes == 2:
        right = (scores >= subject.threshold) == truth
    else:
        right = found.argmax(axis=1) == subject.targets
    accuracy = weights @ right / weights.sum(axis=1)
    area = auc(Scored(scores, truth, right, subject.patients), weights)
    n = len(images)
    return (
        Metric("accuracy", float(accuracy[0]), "all", *interval(accuracy[1:]), n),
        Metric("auc", float(area[0]), "all", *interval(area[1:]), n),
    )


def _curve(kind: str, name: str, strengths: list[float], points: Sequence[tuple[Metric, Metric]]) -> Curve:
    return Curve(kind, name, strengths, [one for one, _ in points], [two for _, two in points])


def _named(name: str, group: str, one: Metric) -> Metric:
    return Metric(name, one.value, group, one.low, one.high, one.n, one.note)


def _drawn(curves: Sequence[Curve], kind: str) -> Any:
    n_columns = min(4, len(curves))
    n_rows = -(-len(curves) // n_columns)
    figure, axes = plot.new(2.7 * n_columns, 2.3 * n_rows)
    axes.remove()
    for number, one in enumerate(curves, 1):
        part = figure.add_subplot(n_rows, n_columns, number)
        places = list(range(len(one.strengths)))
        part.plot(places, [float(metric.value or 0.0) for metric in one.accuracy], marker=".", color=plot.COLOURS[0])
        lows, highs = ([getattr(metric, end) for metric in one.accuracy] for end in ("low", "high"))
        part.fill_between(places, lows, highs, alpha=0.2, color=plot.COLOURS[0], linewidth=0)
        shown_strengths = [f"{255 * one:.0f}/255" if kind == "attack" else f"{one:g}" for one in one.strengths]
        part.set_xticks(places, shown_strengths, fontsize=6)
        part.set_ylim(0, 1)
        part.set_title(one.name, fontsize=8)
    return figure


def _examples(subject: Subject, seed: int) -> Any:
    chosen = np.arange(min(_EXAMPLES, len(subject.images)))
    few = Subject(**{**vars(subject), "images": subject.images[chosen], "targets": subject.targets[chosen]})
    changed = attacked(few, "fgsm", EPSILONS[-1], seed)
    before, after = (subject.probabilities(one)[:, subject.positive] for one in (few.images, changed))
    figure, axes = plot.new(5.4, 1.9 * len(chosen))
    axes.remove()
    for row in range(len(chosen)):
        change = (changed[row, 0] - few.images[row, 0]) * 10 + 0.5
        shown_images = (few.images[row, 0], change, changed[row, 0])
        titles = (f"score {before[row]:.2f}", "change x 10", f"score {after[row]:.2f}")
        for column, (image, title) in enumerate(zip(shown_images, titles, strict=True)):
            part = figure.add_subplot(len(chosen), 3, 3 * row + column + 1)
            part.imshow(image, cmap="gray", vmin=0, vmax=1)
            part.set_title(title, fontsize=7)
            part.set_axis_off()
    return figure
