"""ImageNet weights reach the right places, whatever the port calls them."""

from pathlib import Path

import pytest
import timm
import torch

from cilf.errors import WeightsError
from train.fit import imagenet_weights as imagenet

NAME = "tf_efficientnet_lite0"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """A random network whose file has the published one's layout: other names, a classifier at the end."""
    torch.manual_seed(1)
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.normal_()
    layers = {
        f"_layer{index}.{name.rpartition('.')[2]}": value
        for index, (name, value) in enumerate(network.state_dict().items())
    }
    torch.save(
        layers | {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)},
        tmp_path / "weights.pth",
    )
    monkeypatch.setattr(imagenet, "_weight_file", lambda name: tmp_path / "weights.pth")
    return network


def test_every_tensor_is_copied(published: torch.nn.Module) -> None:
    trunk = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    imagenet.load_imagenet(trunk, NAME)
    own = trunk.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in published.state_dict().items())


@pytest.mark.parametrize("name", ["test_resnet", "tf_efficientnet_lite1"])
def test_another_network_is_refused(published: torch.nn.Module, name: str) -> None:
    with pytest.raises(WeightsError, match="tf_efficientnet_lite0"):
        imagenet.load_imagenet(timm.create_model(name, num_classes=0), NAME)


def test_a_network_without_published_weights_is_refused() -> None:
    with pytest.raises(
        WeightsError, match="no ImageNet weights for test_resnet; name one of tf_efficientnet_lite0"
    ):
        imagenet.load_imagenet(timm.create_model("test_resnet", num_classes=0), "test_resnet")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(imagenet, "import_module", missing)
    with pytest.raises(WeightsError, match=r"\[train\]"):
        imagenet.load_imagenet(timm.create_model(NAME, num_classes=0), NAME)
