"""Which pixels a network looks at: gradients, back-propagated parts, occlusion, and the model-agnostic methods.

Baselines are the blurred image, since constant ones are nothing that a network for CT, MR or X-rays has ever seen.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from captum import attr
from torch import nn
from torch.nn import functional

from claimed_med.errors import ContractError
from claimed_med.models.networks import logits
from claimed_med.trust import ablation

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Question:
    """What is to be explained.

    Attributes:
        probabilities: (n, channel, *spatial) -> (n, class).
        image: Shape (channel, *spatial), in [0, 1].
        target: Class.
        network: For methods that need gradients; None for an ONNX model.
        n_regions: Supervoxels of the model-agnostic methods.
        n_samples: Changed images of LIME and Kernel SHAP.
        seed: Of everything random.
        batch_size: Images at once.
    """

    probabilities: ablation.Probabilities
    image: Floats
    target: int
    network: nn.Module | None = None
    n_regions: int = 40
    n_samples: int = 200
    seed: int = 0
    batch_size: int = 16


def explain(method: str, question: Question) -> Floats:
    """Attribute a prediction to pixels.

    Args:
        method: One of `METHODS`.
        question: What is to be explained.

    Returns:
        Shape (*spatial), float32: positive where the image speaks for the class.

    Raises:
        ContractError: An unknown method, one that needs gradients of an ONNX model, or a network without convolution.
    """
    if method not in METHODS:
        raise ContractError("explanation", "unknown method", got=repr(method), allowed=", ".join(METHODS))
    if method in GRADIENT and question.network is None:
        raise ContractError(
            "explanation", f"{method} needs gradients, and an ONNX model has none", allowed=", ".join(AGNOSTIC)
        )
    found = METHODS[method](question)
    return np.nan_to_num(np.asarray(found, dtype=np.float32))


def _integrated_gradients(question: Question) -> Floats:
    network, image, baseline = _ready(question)
    method = attr.IntegratedGradients(network)
    made = method.attribute(
        image, baselines=baseline, target=question.target, n_steps=32, internal_batch_size=question.batch_size
    )
    return _summed(made)


def _deeplift(question: Question) -> Floats:
    network, image, baseline = _ready(question, separate=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that hooks are set for the time of the call
        return _summed(attr.DeepLift(network).attribute(image, baselines=baseline, target=question.target))


def _grad_cam(question: Question) -> Floats:
    network, image, _ = _ready(question)
    layer = last_convolution(network, image)
    made = attr.LayerGradCam(network, layer).attribute(image, target=question.target, relu_attributions=True)
    return _enlarged(made, image)


def _guided_grad_cam(question: Question) -> Floats:
    network, image, _ = _ready(question, separate=True)
    layer = last_convolution(network, image)
    mode = "bilinear" if image.ndim == 4 else "trilinear"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = attr.GuidedGradCam(network, layer).attribute(image, target=question.target, interpolate_mode=mode)
    return _summed(made)


def _occlusion(question: Question) -> Floats:
    network, image, baseline = _ready(question)
    part = 8 if image.ndim == 4 else 4  # 225 or 343 changed images; windows of an eighth would be 3,375 in a volume
    window = [max(2, length // part) for length in image.shape[2:]]
    strides = [max(1, length // 2) for length in window]
    with torch.no_grad():
        made = attr.Occlusion(network).attribute(
            image,
            baselines=baseline,
            target=question.target,
            sliding_window_shapes=(image.shape[1], *window),
            strides=(image.shape[1], *strides),
            perturbations_per_eval=question.batch_size,
        )
    return _summed(made)


def _region_ablation(question: Question) -> Floats:
    regions = ablation.supervoxels(question.image, question.n_regions)
    return ablation.region_ablation(
        question.probabilities, question.image, question.target, regions, question.batch_size
    )


def _sampled(function: Callable[..., Floats]) -> Callable[[Question], Floats]:
    def made(question: Question) -> Floats:
        regions = ablation.supervoxels(question.image, question.n_regions)
        return function(
            question.probabilities,
            question.image,
            question.target,
            regions,
            n_samples=question.n_samples,
            seed=question.seed,
            batch_size=question.batch_size,
        )

    return made


METHODS: dict[str, Callable[[Question], Floats]] = {
    "grad_cam": _grad_cam,
    "guided_grad_cam": _guided_grad_cam,
    "integrated_gradients": _integrated_gradients,
    "deeplift": _deeplift,
    "occlusion": _occlusion,
    "region_ablation": _region_ablation,
    "lime": _sampled(ablation.lime),
    "kernel_shap": _sampled(ablation.kernel_shap),
}
AGNOSTIC = ("region_ablation", "lime", "kernel_shap")
GRADIENT = tuple(name for name in METHODS if name not in AGNOSTIC)


def last_convolution(network: nn.Module, image: torch.Tensor) -> nn.Module:
    """The last convolution that a forward pass uses and whose map is still larger than one pixel.

    Raises:
        ContractError: There is none.
    """
    seen: list[nn.Module] = []

    def note(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        if max(output.shape[2:]) > 1:
            seen.append(module)

    kinds = (nn.Conv2d, nn.Conv3d)
    hooks = [one.register_forward_hook(note) for one in network.modules() if isinstance(one, kinds)]
    try:
        with torch.no_grad():
            network(image)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen:
        raise ContractError("explanation", "the network has no convolution for a Grad-CAM", do="use region_ablation")
    return seen[-1]


class _Logits(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = logits(self.network(image))
        return found


def _ready(question: Question, *, separate: bool = False) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A copy of the network (so that the caller's is left as it was), the image and its baseline, on its device."""
    if question.network is None:
        raise ContractError("explanation", "the method needs a torch network")
    network = _Logits(copy.deepcopy(question.network)).eval()
    if separate:
        _separate_activations(network)
    where = next(network.parameters()).device
    image = torch.from_numpy(np.ascontiguousarray(question.image[None])).to(where)
    baseline = torch.from_numpy(ablation.blurred(question.image)[None]).to(where)
    return network, image, baseline


def _separate_activations(network: nn.Module) -> None:
    """Rules that replace gradients of activations need them out of place."""
    for one in network.modules():
        if getattr(one, "inplace", False):
            one.inplace = False


def _summed(made: Any) -> Floats:
    return np.asarray(made.detach().cpu().numpy()[0].sum(axis=0), dtype=np.float32)


def _enlarged(made: torch.Tensor, image: torch.Tensor) -> Floats:
    mode = "bilinear" if image.ndim == 4 else "trilinear"
    larger = functional.interpolate(made.detach().mean(dim=1, keepdim=True), image.shape[2:], mode=mode)
    return np.asarray(larger.cpu().numpy()[0, 0], dtype=np.float32)
