"""Time and fidelity of model-agnostic explanations: ours beside the `lime` package, on the same network and images."""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import torch
from lime.lime_image import LimeImageExplainer

from claimed_med.models import fit, networks, recipe
from claimed_med.models.device import numbers, precision_for
from claimed_med.models.samples import Samples
from claimed_med.testing import xrays
from claimed_med.trust import ablation, fidelity

N_THREADS, N_IMAGES, SIZE = 2, 3, 128
DEFAULT_SAMPLES, SAME_SAMPLES, N_REGIONS = 1000, 200, 40

RECIPE = """
task = "classification"
dims = 2
[[prepare]]
transform = "Resize"
spatial_size = [128, 128]
[network]
name = "DenseNet121"
[training]
epochs = 3
batch_size = 16
learning_rate = 0.0005
label_smoothing = 0.1
"""


def run() -> list[dict[str, Any]]:
    """Rows: method, seconds an image, deletion, insertion, and the time relative to lime's default."""
    torch.set_num_threads(N_THREADS)
    network, images = _fitted()
    precision = precision_for("auto", torch.device("cpu"))

    @torch.no_grad()
    def probabilities(batch: np.ndarray) -> np.ndarray:
        """In bfloat16 where the processor has it: the same function for every method, lime's too."""
        with numbers(precision, torch.device("cpu")):
            output = network(
                torch.from_numpy(np.ascontiguousarray(batch)).contiguous(memory_format=torch.channels_last)
            )
        return np.asarray(torch.softmax(output.double(), dim=1).numpy())

    found: dict[str, list[tuple[float, float, float]]] = {}
    for image in images:
        regions = ablation.supervoxels(image, N_REGIONS)
        for name, method in _methods(probabilities, regions).items():
            started = time.perf_counter()
            made = method(image)
            spent = time.perf_counter() - started
            deletion, insertion = fidelity.deletion_and_insertion(probabilities, image, 1, made)
            found.setdefault(name, []).append((spent, deletion, insertion))
    medians = {name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in found.items()}
    default = medians["lime package, its default (1000 samples)"][0]
    return [
        {
            "case": f"DenseNet121 2D, {SIZE} x {SIZE}, {precision}",
            "who": name,
            "s an image": round(spent, 3),
            "deletion (low is good)": round(deletion, 3),
            "insertion (high is good)": round(insertion, 3),
            "times faster than lime's default": round(default / spent, 1),
        }
        for name, (spent, deletion, insertion) in medians.items()
    ]


def _methods(probabilities: Any, regions: Any) -> dict[str, Any]:
    def package(image: Any, n_samples: int, segments: Any) -> Any:
        colour = np.repeat(image[0][..., None], 3, axis=2).astype(np.double)

        def predict(batch: Any) -> Any:
            return probabilities(np.asarray(batch)[..., 0][:, None].astype(np.float32))

        made = LimeImageExplainer(random_state=0).explain_instance(
            colour,
            predict,
            labels=(1,),
            top_labels=None,
            num_samples=n_samples,
            random_seed=0,
            segmentation_fn=None if segments is None else (lambda _: segments),
        )
        weights = dict(made.local_exp[1])
        return np.vectorize(lambda one: weights.get(one, 0.0))(made.segments).astype(np.float32)

    return {
        "lime package, its default (1000 samples)": lambda image: package(image, DEFAULT_SAMPLES, None),
        "region ablation": lambda image: ablation.region_ablation(probabilities, image, 1, regions, 16),
        f"lime package, {SAME_SAMPLES} samples, same regions": lambda image: package(image, SAME_SAMPLES, regions),
        f"our LIME, {SAME_SAMPLES} samples, same regions": lambda image: ablation.lime(
            probabilities, image, 1, regions, n_samples=SAME_SAMPLES, batch_size=16
        ),
        f"our Kernel SHAP, {SAME_SAMPLES} samples": lambda image: ablation.kernel_shap(
            probabilities, image, 1, regions, n_samples=SAME_SAMPLES, batch_size=16
        ),
    }


def _fitted() -> tuple[Any, list[np.ndarray]]:
    """A network that has learnt something (made radiographs), and images that it calls positive."""
    chosen = recipe.load(RECIPE)

    def drawn(seed: int, ill: bool) -> torch.Tensor:  # noqa: FBT001 - the label itself
        picture = xrays.draw(np.random.default_rng(seed), size=SIZE, spot=0.35 if ill else 0.0)
        return torch.from_numpy(picture[None].astype(np.float32) / 255)

    def part(start: int, n: int) -> Samples:
        return Samples(
            [str(one) for one in range(n)],
            [drawn(start + one, one % 2 == 1) for one in range(n)],
            [one % 2 for one in range(n)],
        )

    described = networks.definition(
        chosen.network, task="classification", dims=2, n_channels=1, n_classes=2, size=(SIZE, SIZE)
    )
    made = fit.fit(chosen, described, part(0, 96), part(1000, 24), n_classes=2, seed=0)
    network = networks.build(described).eval()
    network.load_state_dict(made.weights)
    network = network.to(memory_format=torch.channels_last)
    return network, [drawn(5000 + one, ill=True).numpy() for one in range(N_IMAGES)]


if __name__ == "__main__":
    for row in run():
        print(row)
