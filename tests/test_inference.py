"""`cilf.inference`: a network that was made quicker must compute what it computed before."""

import open_clip
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import Conv2dSame
from torch import nn

from cilf.inference import Bottleneck, Halving, Pointwise, speed_up
from cilf.weights import load


@pytest.mark.parametrize("side", [64, 72])  # of 72, maps have odd numbers of rows
@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050"])
def test_quicker_network_gives_the_same(name: str, side: int) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=4).train()
    with torch.no_grad():
        for _ in range(3):  # statistics other than those of a fresh network
            network(torch.rand(4, 3, 64, 64) * 3 - 1)
    network.eval()
    pixels = torch.rand(2, 3, side, side)
    with torch.no_grad():
        before = network(pixels)
        speed_up(network)
        after = network(pixels)
    modules = list(network.modules())
    assert any(isinstance(module, Bottleneck) for module in modules) == (name == "tf_efficientnet_lite0")
    assert not any(isinstance(module, nn.BatchNorm2d) for module in modules)
    assert any(isinstance(module, Pointwise) for module in modules) == (name != "resnet18")
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


def test_bundled_tower_gives_the_same() -> None:
    towers = load().model.towers
    pixels = torch.rand(2, 3, towers.config.image_size, towers.config.image_size)
    with torch.no_grad():
        before = towers.encode_image(pixels)
        speed_up(towers.clip.visual)
        after = towers.encode_image(pixels)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-3)


def test_a_transformer_is_left_as_it_is() -> None:
    vision = open_clip.create_model("ViT-S-32-alt", force_image_size=64).visual.eval()
    names = [name for name, _ in vision.named_modules()]
    speed_up(vision)
    assert [name for name, _ in vision.named_modules()] == names


@pytest.mark.parametrize("options", [{"stride": 2}, {"groups": 2}, {"padding": 1}])
def test_other_convolutions_of_one_pixel_stay_convolutions(options: dict[str, int]) -> None:
    network = nn.Sequential(nn.Conv2d(4, 6, 1, **options)).eval()
    pixels = torch.rand(2, 4, 5, 7)
    with torch.no_grad():
        before = network(pixels)
        speed_up(network)
        torch.testing.assert_close(network(pixels), before)
    assert isinstance(network[0], nn.Conv2d)


@pytest.mark.parametrize("bias", [True, False])
def test_pointwise_is_the_convolution(bias: bool) -> None:
    convolution = nn.Conv2d(4, 6, 1, bias=bias)
    pixels = torch.rand(2, 4, 5, 7)
    torch.testing.assert_close(Pointwise(convolution)(pixels), convolution(pixels))


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("groups", [1, 4])
@given(rows=st.integers(5, 12), columns=st.integers(5, 12))
def test_halving_is_the_convolution_with_same_padding(
    kernel_size: int, groups: int, rows: int, columns: int
) -> None:
    network = nn.Sequential(Conv2dSame(4, 8, kernel_size, stride=2, groups=groups)).eval()
    pixels = torch.rand(2, 4, rows, columns)
    with torch.no_grad():
        before = network(pixels)
        speed_up(network)
        torch.testing.assert_close(network(pixels), before)
    assert isinstance(network[0], Halving)
