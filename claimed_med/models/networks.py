"""Networks of MONAI by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from monai.networks import nets
from torch import nn

from claimed_med.errors import ContractError

CLASSIFIERS = (
    "Classifier",
    "DenseNet121",
    "DenseNet169",
    "DenseNet201",
    "DenseNet264",
    "EfficientNetBN",
    "SEResNet50",
    "SEResNext50",
    "ViT",
    "resnet10",
    "resnet18",
    "resnet34",
    "resnet50",
)
SEGMENTERS = (
    "AttentionUnet",
    "BasicUNet",
    "BasicUNetPlusPlus",
    "SegResNet",
    "SwinUNETR",
    "UNETR",
    "UNet",
    "VNet",
)
# MONAI names the same three things differently from network to network
_DIMS = ("spatial_dims", "dimensions")
_CHANNELS = ("in_channels", "n_input_channels")
_CLASSES = ("out_channels", "num_classes", "classes")
_FIXED: dict[str, dict[str, Any]] = {
    "EfficientNetBN": {"model_name": "efficientnet-b0", "pretrained": False},
    "ViT": {"classification": True},
}


def definition(
    network: Mapping[str, Any], *, task: str, dims: int, n_channels: int, n_classes: int, size: Sequence[int]
) -> dict[str, Any]:
    """All arguments of a network, as MONAI's bundle tools read them.

    Args:
        network: `{"name": ..., **arguments}` of a recipe.
        task: `classification` or `segmentation`.
        dims: Spatial axes.
        n_channels: Channels of the input.
        n_classes: Channels of the output.
        size: Spatial size of the input, for networks that are bound to one.

    Returns:
        `{"_target_": "monai.networks.nets.NAME", **arguments}`.

    Raises:
        ContractError: An unknown network, or an argument that it does not have.
    """
    known = CLASSIFIERS if task == "classification" else SEGMENTERS
    name = str(network["name"])
    if name not in known:
        raise ContractError("network", f"is unknown for {task}", got=repr(name), allowed=", ".join(known))
    maker = getattr(nets, name)
    accepted = inspect.signature(maker).parameters
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in accepted.values())
    given = {key: value for key, value in network.items() if key != "name"}
    unknown = sorted(set(given) - set(accepted))
    if unknown and not open_ended:
        raise ContractError("network", f"{name} has no such argument", got=", ".join(unknown))
    arguments = {**_FIXED.get(name, {}), **given}
    for names, value in ((_DIMS, dims), (_CHANNELS, n_channels), (_CLASSES, n_classes)):
        key = next((one for one in names if one in accepted), names[0] if open_ended else "")
        if key:
            arguments[key] = value
    if "in_shape" in accepted:  # the plain classifier takes its dimensions from the shape of its input
        arguments = {**arguments, "in_shape": [n_channels, *size], "classes": n_classes}
    if "img_size" in accepted and accepted["img_size"].default is inspect.Parameter.empty:
        arguments["img_size"] = list(size)
    if name.startswith(("resnet", "SE")) and open_ended:
        arguments = _residual(name, arguments)
    return {"_target_": f"monai.networks.nets.{name}", **arguments}


def build(described: Mapping[str, Any]) -> nn.Module:
    """Make the network of a definition, with random weights.

    Raises:
        ContractError: MONAI does not take these arguments.
    """
    name = str(described["_target_"]).rpartition(".")[2]
    if name not in (*CLASSIFIERS, *SEGMENTERS):
        raise ContractError("network", "is unknown", got=repr(name))
    arguments = {key: value for key, value in described.items() if key != "_target_"}
    try:
        made: nn.Module = getattr(nets, name)(**arguments)
    except (TypeError, ValueError, AssertionError) as error:
        raise ContractError("network", f"{name} does not take its arguments", got=str(error).splitlines()[0]) from None
    return made


def has_batch_statistics(network: nn.Module) -> bool:
    """Whether a step of the network mixes the images of a batch (batch normalisation)."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    return any(isinstance(one, kinds) for one in network.modules())


def logits(output: Any) -> Any:
    """The logits of a network that may return more than one thing (ViT, deep supervision)."""
    return output[0] if isinstance(output, tuple | list) else output


def _residual(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    if name.startswith("resnet"):
        arguments["n_input_channels"] = arguments.pop("in_channels", arguments.get("n_input_channels"))
        arguments["num_classes"] = arguments.pop("out_channels", arguments.get("num_classes"))
    else:
        arguments["num_classes"] = arguments.pop("out_channels", arguments.get("num_classes"))
    return arguments
