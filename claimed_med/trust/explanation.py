"""Explain a sample of predictions with several methods, and measure every map."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from claimed_med.errors import ContractError
from claimed_med.imaging.lungfield import lung_field
from claimed_med.imaging.marker import marker_side
from claimed_med.trust import fidelity, plot
from claimed_med.trust.ablation import Floats, Probabilities
from claimed_med.trust.attribution import METHODS, Question, explain
from claimed_med.trust.bootstrap import interval
from claimed_med.trust.metric import Metric, shown
from claimed_med.trust.page import Page
from claimed_med.trust.shortcut import outside

UNKNOWN = "unknown"
_MEASURED = ("deletion", "insertion", "infidelity", "sensitivity", "randomisation_correlation")


@dataclass
class Explained:
    """What was found for one image.

    Attributes:
        key: Unit key of the image.
        image: Prepared, shape (channel, *spatial).
        target: Class that was explained.
        score: Its probability.
        maps: Method -> map of shape (*spatial).
        measured: Method -> figures of its fidelity.
        outside: Method -> place -> part of the map outside of it.
        pointing: Method -> figures, where the truth is known.
    """

    key: str
    image: Floats
    target: int
    score: float
    maps: dict[str, Floats] = field(default_factory=dict)
    measured: dict[str, dict[str, float]] = field(default_factory=dict)
    outside: dict[str, dict[str, float]] = field(default_factory=dict)
    pointing: dict[str, dict[str, float]] = field(default_factory=dict)


def check_methods(methods: Sequence[str]) -> None:
    """Refuse unknown methods before anything is computed.

    Raises:
        ContractError: With the known ones.
    """
    unknown = sorted(set(methods) - set(METHODS))
    if unknown or not methods:
        raise ContractError(
            "explanation", "unknown method", got=", ".join(unknown) or "none", allowed=", ".join(METHODS)
        )


def places(image: Floats, place: str) -> dict[str, npt.NDArray[np.bool_]]:
    """Where a model may look: name -> mask.

    Args:
        image: Prepared, shape (channel, *spatial).
        place: `lungs` (a frontal chest X-ray), `body` (all but the dark surround), or `none`.
    """
    if place == "none":
        return {}
    if image.ndim != 3:
        mean = image.mean(axis=0)
        return {"body": mean > mean.min() + 0.1 * (mean.max() - mean.min())}
    found = lung_field(image[0])
    return {"lungs": found.lungs, "body": found.body} if place == "lungs" else {"body": found.body}


def mark(image: Floats, masks: Mapping[str, npt.NDArray[np.bool_]]) -> str:
    """Where a radiograph has a mark of lead beside the lungs; `unknown` where no lungs were asked for."""
    return marker_side(image[0], masks["lungs"]) if "lungs" in masks else UNKNOWN


def explain_one(
    key: str,
    image: Floats,
    target: int,
    *,
    methods: Sequence[str],
    probabilities: Probabilities,
    network: nn.Module | None,
    random_network: nn.Module | None,
    masks: Mapping[str, npt.NDArray[np.bool_]],
    truth: npt.NDArray[np.bool_] | None,
    options: Mapping[str, Any],
) -> Explained:
    """Explain one prediction with every method.

    Args:
        key: Unit key of the image.
        image: Prepared.
        target: Class to explain.
        methods: Names of `METHODS`.
        probabilities: (n, channel, *spatial) -> (n, class).
        network: Or None for an ONNX model.
        random_network: From `fidelity.randomised`, or None.
        masks: From `places`.
        truth: Where the finding is, or None.
        options: `n_regions`, `n_samples`, `seed` of `Question`.
    """
    score = float(probabilities(image[None])[0, target])
    made = Explained(key, image, target, score)

    def ask(method: str, of: nn.Module | None, answer: Probabilities) -> Callable[[Floats], Floats]:
        return lambda given: explain(method, Question(answer, given, target, of, **options))

    for method in methods:
        again = ask(method, network, probabilities)
        found = again(image)
        deletion, insertion = fidelity.deletion_and_insertion(probabilities, image, target, found)
        figures = {
            "deletion": deletion,
            "insertion": insertion,
            "infidelity": fidelity.infidelity(probabilities, image, target, found, seed=options["seed"]),
            "sensitivity": fidelity.sensitivity(again, image, n_samples=1, seed=options["seed"]),
        }
        if random_network is not None:
            of_random = ask(method, random_network, _of(random_network))(image)
            figures["randomisation_correlation"] = fidelity.randomisation_correlation(found, of_random)
        made.maps[method], made.measured[method] = found, figures
        made.outside[method] = {name: outside(found, mask) for name, mask in masks.items()}
        if truth is not None and truth.any():
            made.pointing[method] = fidelity.pointing(found, truth)
    return made


def metrics_of(explained: Sequence[Explained], methods: Sequence[str], seed: int) -> list[Metric]:
    """Means over the images with bootstrap intervals; `attribution_outside` is that of the first method."""
    made = []
    for method in methods:
        for name in _MEASURED:
            values = [one.measured[method][name] for one in explained if name in one.measured[method]]
            if values:
                made.append(_mean(name, f"method={method}", values, seed))
        for place in explained[0].outside[method]:
            values = [one.outside[method][place] for one in explained]
            made.append(_mean("attribution_outside", f"{place} & method={method}", values, seed))
        pointed = [one.pointing[method] for one in explained if method in one.pointing]
        names = pointed[0] if pointed else ()
        made += [_mean(f"pointing_{name}", f"method={method}", [one[name] for one in pointed], seed) for name in names]
    first = methods[0]
    made += [
        _mean("attribution_outside", place, [one.outside[first][place] for one in explained], seed)
        for place in explained[0].outside[first]
    ]
    checked = [one.measured[first].get("randomisation_correlation") for one in explained]
    if None not in checked:
        made.append(_mean("randomisation_correlation", "all", [float(one or 0.0) for one in checked], seed))
    return made


def page(report: Mapping[str, Any], pictures: Mapping[str, bytes], legends: Mapping[str, str]) -> str:
    """The page of an explanation report."""
    made = Page("Explanations")
    made.paragraph(
        f"{report['n_explained']} of {report['n_images']} images; class {report['positive']!r}. Low deletion and high "
        "insertion mean that a map names the pixels that matter to the model."
    )
    lines = [
        [one["name"], one["group"], shown(one["value"], one["low"], one["high"]) if not one["note"] else one["note"]]
        for one in report["metrics"]
    ]
    made.heading("Shortcuts and fidelity").table(["figure", "of", "value (95 % interval)"], lines)
    made.heading("Examples")
    for name, content in pictures.items():
        made.picture(content, legends.get(name, name))
    return made.json(report).html()


def drawn(one: Explained) -> bytes:
    """All maps of an image side by side, as PNG."""
    figure, axes = plot.new(2.1 * (len(one.maps) + 1), 2.4)
    axes.remove()
    plane = one.image[0]
    for number, (name, found) in enumerate([("image", None), *one.maps.items()], 1):
        part = figure.add_subplot(1, len(one.maps) + 1, number)
        shown_map = None if found is None else np.clip(found, 0, None)
        picture = plane
        if plane.ndim == 3:
            weight = next(iter(one.maps.values()))
            best = int(np.argmax(np.clip(weight, 0, None).reshape(len(weight), -1).sum(axis=1)))
            picture = plane[best]
            shown_map = None if shown_map is None else shown_map[best]
        part.imshow(picture, cmap="gray", vmin=0, vmax=1)
        if shown_map is not None:
            top = max(float(np.percentile(shown_map, 99.5)), 1e-12)
            strength = np.clip(shown_map / top, 0, 1)
            part.imshow(strength, cmap="inferno", alpha=0.6 * strength, vmin=0, vmax=1)
        part.set_title(name, fontsize=7)
        part.set_axis_off()
    return plot.png(figure)


def _of(network: nn.Module) -> Probabilities:
    import torch

    from claimed_med.models.device import precision_for
    from claimed_med.models.evaluate import class_probabilities

    where = next(network.parameters()).device
    precision = precision_for("auto", where)
    return lambda batch: class_probabilities(network, torch.from_numpy(batch), precision, where, 16)


def _mean(name: str, group: str, values: Sequence[float], seed: int) -> Metric:
    found = np.asarray(values, dtype=np.float64)
    drawn_rows = np.random.default_rng(seed).integers(0, len(found), size=(1000, len(found)))
    low, high = interval(found[drawn_rows].mean(axis=1))
    return Metric(name, float(found.mean()), group, low, high, len(found))
