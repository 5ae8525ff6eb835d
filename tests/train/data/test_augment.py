"""Augmentation: drawn per sample, harmless at zero strength, and within the value range."""

import numpy as np
import torch

from train.data.augment import AugmentConfig, augment, draw, plain

STILL = AugmentConfig(
    rotation=0, scale=0, shift=0, brightness=0, contrast=0, saturation=0, hue=0, grey=0, blur=0, noise=0, jpeg=0,
    erase=0,
)  # fmt: skip


def crops(count: int = 6) -> torch.Tensor:
    """Smooth pictures, as faces are."""
    grid = np.linspace(0, 3, 44)
    waves = [
        np.sin(grid[:, None] * (i + 1)) * np.cos(grid[None] * (c + 1)) for i in range(count) for c in range(3)
    ]
    array = ((np.array(waves).reshape(count, 3, 44, 44) + 1) * 127).astype(np.uint8)
    return torch.from_numpy(array).permute(0, 2, 3, 1).contiguous()


def test_a_sample_is_treated_alike_in_any_batch() -> None:
    config = AugmentConfig()
    numbers = np.arange(6)
    whole = augment(crops(), 32, 6, draw(1, 2, numbers), config)
    part = augment(crops()[3:5], 32, 6, draw(1, 2, numbers[3:5]), config)
    torch.testing.assert_close(whole[3:5], part, rtol=1e-4, atol=1e-5)


def test_another_epoch_draws_anew() -> None:
    first, second = draw(1, 0, np.arange(4)), draw(1, 1, np.arange(4))
    assert not torch.equal(first["rotation"], second["rotation"])


def test_at_zero_strength_only_the_mirror_is_left() -> None:
    draws = draw(0, 0, np.arange(6))
    found = augment(crops(), 32, 6, draws, STILL)
    wanted = plain(crops(), 32, 6)
    mirrored = (draws["flip"] < 0.5).view(-1, 1, 1, 1)
    assert 0 < mirrored.sum() < 6
    torch.testing.assert_close(found, torch.where(mirrored, wanted.flip(-1), wanted), rtol=0, atol=0.02)


def test_values_stay_in_range_and_every_change_happens() -> None:
    config = AugmentConfig(blur=1, noise=1, jpeg=1, erase=1, grey=1)
    found = augment(crops(), 32, 6, draw(0, 0, np.arange(6)), config)
    assert found.shape == (6, 3, 32, 32)
    assert found.min() >= 0
    assert found.max() <= 1
