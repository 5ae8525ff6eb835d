"""The text tower in NumPy computes what the one in PyTorch does."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from cilf.checkpoint import load, tensors_of
from cilf.inference.error_models import GaussianError
from cilf.inference.text_tower import TextTower
from cilf.model.cilf import CILF, build_model
from cilf.model.config import ModelConfig
from tests import tiny

TEXTS = ["a child", "", "a photo of an old man with grey hair, a hat & glasses " * 3]


def quick_gelu() -> ModelConfig:
    """As OpenAI's CLIP, with more layers and heads than one."""
    text = {"context_length": 16, "vocab_size": 49408, "width": 24, "heads": 3, "layers": 2}
    clip = replace(tiny.CLIP, architecture=tiny.CLIP.architecture | {"quick_gelu": True, "text_cfg": text})
    return replace(tiny.MODEL, clip=clip)


@torch.no_grad()
@pytest.mark.parametrize("config", [lambda: tiny.MODEL, quick_gelu])
def test_texts_and_ages_are_those_of_pytorch(config: Callable[[], ModelConfig]) -> None:
    torch.manual_seed(1)
    model = build_model(config()).eval()
    for value in model.towers.clip.transformer.parameters():
        value.copy_(torch.randn_like(value) * 0.3)  # where an activation shows
    tower = TextTower(config(), tensors_of(model, GaussianError()))
    np.testing.assert_allclose(tower.encode_text(TEXTS), model.towers.encode_text(TEXTS), atol=1e-5)
    np.testing.assert_allclose(tower.encode_ages(), model.encode_ages(), atol=1e-5)
    assert tower.scale == pytest.approx(model.scale.item())


@pytest.mark.slow
@torch.no_grad()
def test_so_they_are_of_the_bundled_weights() -> None:
    checkpoint = load()
    model, tower = checkpoint.model, checkpoint.text_tower
    assert isinstance(model, CILF)
    assert tower is not None
    np.testing.assert_allclose(tower.encode_text(TEXTS), model.towers.encode_text(TEXTS), atol=1e-5)
    np.testing.assert_allclose(tower.encode_ages(), model.encode_ages(), atol=1e-5)
