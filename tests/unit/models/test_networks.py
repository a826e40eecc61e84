from __future__ import annotations

import pytest
import torch

from claimed_med.errors import ContractError
from claimed_med.models import networks

ARGUMENTS = {
    "Classifier": {"channels": [4, 8], "strides": [2, 2]},
    "ViT": {"patch_size": 16, "hidden_size": 24, "mlp_dim": 24, "num_layers": 1, "num_heads": 2},
    "UNet": {"channels": [4, 8], "strides": [2]},
    "AttentionUnet": {"channels": [4, 8], "strides": [2]},
    "SegResNet": {"init_filters": 8},
    "SwinUNETR": {"feature_size": 12},
    "UNETR": {"hidden_size": 24, "mlp_dim": 24, "num_heads": 2},
    "BasicUNet": {"features": [4, 4, 8, 8, 8, 4]},
    "BasicUNetPlusPlus": {"features": [4, 4, 8, 8, 8, 4]},
}


def _definition(name, task, dims, size):
    network = {"name": name, **ARGUMENTS.get(name, {})}
    return networks.definition(network, task=task, dims=dims, n_channels=1, n_classes=3, size=size)


@pytest.mark.parametrize("name", ["Classifier", "DenseNet121", "EfficientNetBN", "SEResNet50", "ViT", "resnet18"])
@pytest.mark.parametrize("dims", [2, 3])
def test_classifiers_give_one_row_an_image(name, dims):
    size = (32,) * dims
    made = networks.build(_definition(name, "classification", dims, size)).eval()
    assert networks.logits(made(torch.zeros(2, 1, *size))).shape == (2, 3)


@pytest.mark.parametrize("name", networks.SEGMENTERS)
def test_segmenters_give_one_map_a_class(name):
    size = (64, 64, 64) if name == "SwinUNETR" else (32, 32, 32)
    made = networks.build(_definition(name, "segmentation", 3, size)).eval()
    with torch.no_grad():
        assert networks.logits(made(torch.zeros(1, 1, *size))).shape == (1, 3, *size)


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(ContractError, match=r"DenseNet999.*DenseNet121"):
        _definition("DenseNet999", "classification", 2, (32, 32))


def test_an_unknown_argument_is_refused():
    network = {"name": "UNet", "channels": [4, 8], "strides": [2], "depth": 9}
    with pytest.raises(ContractError, match="depth"):
        networks.definition(network, task="segmentation", dims=3, n_channels=1, n_classes=2, size=(32, 32, 32))


def test_batch_statistics_are_found():
    with_them = networks.build(_definition("DenseNet121", "classification", 2, (32, 32)))
    without = networks.build(_definition("Classifier", "classification", 2, (32, 32)))
    assert (networks.has_batch_statistics(with_them), networks.has_batch_statistics(without)) == (True, False)
