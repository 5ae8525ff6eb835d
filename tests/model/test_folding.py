"""`cilf.model.folding`: a network without batch normalisation must compute what it computed with it."""

import open_clip
import pytest
import timm
import torch
from torch import nn

from cilf.model.folding import fold_batch_norm


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_050"])
def test_a_folded_network_gives_the_same(name: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, num_classes=4).train()
    with torch.no_grad():
        for _ in range(3):  # statistics other than those of a fresh network
            network(torch.rand(4, 3, 64, 64) * 3 - 1)
    network.eval()
    pixels = torch.rand(2, 3, 72, 72)
    with torch.no_grad():
        before = network(pixels)
        fold_batch_norm(network)
        after = network(pixels)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)


def test_a_transformer_is_left_as_it_is() -> None:
    vision = open_clip.create_model("ViT-S-32-alt", force_image_size=64).visual.eval()
    names = [name for name, _ in vision.named_modules()]
    fold_batch_norm(vision)
    assert [name for name, _ in vision.named_modules()] == names
