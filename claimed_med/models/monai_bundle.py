"""The two files by which MONAI's bundle tools load and run a model."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

_PACKAGES = ("monai", "torch", "numpy", "safetensors")


def metadata(told: Mapping[str, Any]) -> dict[str, Any]:
    """`configs/metadata.json`.

    Args:
        told: `Bundle.describe()`.

    Source:
        MONAI bundle specification, metadata format.
    """
    versions = {name: version(name) for name in _PACKAGES}
    patches = told["task"] == "segmentation"
    size = [step["spatial_size"] for step in told["recipe"]["prepare"] if "spatial_size" in step]
    shape = told["recipe"]["training"]["patch_size"] if patches else (size[-1] if size else [])
    shape = shape if isinstance(shape, list) else [shape] * told["recipe"]["dims"]
    names = ["background", *told["classes"]] if patches else told["classes"]
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": "1.0.0",
        "changelog": {"1.0.0": "trained"},
        "monai_version": versions["monai"],
        "pytorch_version": versions["torch"],
        "numpy_version": versions["numpy"],
        "required_packages_version": {"safetensors": versions["safetensors"]},
        "task": told["task"],
        "description": told["intended_use"] or told["task"],
        "authors": "trained with claimed_med",
        "copyright": "see the data's licence",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": "any",
                    "num_channels": told["n_channels"],
                    "spatial_shape": shape,
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": patches,
                    "channel_def": {str(one): "image" for one in range(told["n_channels"])},
                }
            },
            "outputs": {
                "pred": {
                    "type": "probabilities" if not patches else "segmentation",
                    "format": told["task"],
                    "num_channels": len(names),
                    "spatial_shape": shape if patches else [],
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": patches,
                    "channel_def": {str(number): name for number, name in enumerate(names)},
                }
            },
        },
    }


def inference(told: Mapping[str, Any]) -> dict[str, Any]:
    """`configs/inference.json`: network, preparation and inferer, as MONAI's ConfigParser reads them."""
    steps = [
        {"_target_": step["transform"], **{key: value for key, value in step.items() if key != "transform"}}
        for step in told["recipe"]["prepare"]
    ]
    inferer: dict[str, Any] = {"_target_": "SimpleInferer"}
    if told["task"] == "segmentation":
        inferer = {
            "_target_": "SlidingWindowInferer",
            "roi_size": told["recipe"]["training"]["patch_size"],
            "sw_batch_size": told["recipe"]["compute"]["window_batch"],
            "overlap": told["recipe"]["compute"]["overlap"],
            "mode": "gaussian",
        }
    content: dict[str, Any] = {
        "bundle_root": ".",
        "device": "cpu",
        "preprocessing": {"_target_": "Compose", "transforms": steps},
        "inferer": inferer,
        "postprocessing": {"_target_": "Compose", "transforms": [{"_target_": "Activations", "softmax": True}]},
    }
    if told["network"]:
        target = str(told["network"]["_target_"]).rpartition(".")[2]
        content["network_def"] = {**told["network"], "_target_": target}
        content["load_weights"] = {
            "_target_": "safetensors.torch.load_model",
            "model": "@network_def",
            "filename": "$@bundle_root + '/models/model.safetensors'",
        }
        content["network"] = "$@network_def.eval().to(@device)"
    return content
