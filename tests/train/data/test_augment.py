"""Augmentation: drawn per sample, harmless at zero strength, and within the value range."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from train.data.augmentation.augment import (
    OPTIONAL,
    AugmentConfig,
    Draws,
    augment,
    draw,
    mix_amplitudes,
    plain,
    second_view,
)
from train.data.augmentation.jpeg import jpeg
from train.data.augmentation.noise import gaussian_noise

STILL = AugmentConfig(
    rotation=0, scale=0, shift=0, brightness=0, contrast=0, saturation=0, hue=0, grey=0, blur=0, noise=0, jpeg=0,
    erase=0,
)  # fmt: skip

EVERYTHING = AugmentConfig(
    grey=0.5, cast=1, fade=1, gamma=1, posterise=0.5, vignette=1, convolve=0.5, blur=1, sharpen=1, noise=1, jpeg=1,
    erase=1, surround=1,
)  # fmt: skip


def drawn(seed: int, epoch: int, samples: np.ndarray) -> Draws:
    return Draws(draw(seed, epoch, samples))


def crops(count: int = 6) -> torch.Tensor:
    """Smooth pictures, as faces are."""
    grid = np.linspace(0, 3, 44)
    waves = [
        np.sin(grid[:, None] * (i + 1)) * np.cos(grid[None] * (c + 1)) for i in range(count) for c in range(3)
    ]
    array = ((np.array(waves).reshape(count, 3, 44, 44) + 1) * 127).astype(np.uint8)
    return torch.from_numpy(array).permute(0, 2, 3, 1).contiguous()


@pytest.mark.parametrize("config", [AugmentConfig(), EVERYTHING])
def test_a_sample_is_treated_alike_in_any_batch(config: AugmentConfig) -> None:
    """Up to a JPEG coefficient that rounding lets fall on the other side."""
    numbers = np.arange(6)
    whole = augment(crops(), 32, 6, drawn(1, 2, numbers), config)
    part = augment(crops()[3:5], 32, 6, drawn(1, 2, numbers[3:5]), config)
    assert (whole[3:5] - part).abs().quantile(0.95) < 1e-3


def test_what_is_spared_keeps_what_every_picture_gets() -> None:
    """Flip, turn, place, light and erased parts; nothing that is optional."""
    draws = drawn(1, 2, np.arange(6))
    without = replace(EVERYTHING, **dict.fromkeys(OPTIONAL, 0.0))
    spared = augment(crops(), 32, 6, draws.sparing(1.0), EVERYTHING)
    torch.testing.assert_close(spared, augment(crops(), 32, 6, draws, without))
    assert not torch.equal(spared, augment(crops(), 32, 6, draws.sparing(0.0), EVERYTHING))


def test_smaller_pictures_are_not_aliased() -> None:
    """Every second pixel white: at half the size all is grey, whichever pixels would be hit."""
    board = np.indices((44, 44)).sum(axis=0) % 2 * 255
    chequered = torch.from_numpy(np.repeat(board[None, :, :, None], 3, axis=3).astype(np.uint8))
    found = augment(chequered, 16, 6, drawn(0, 0, np.arange(1)), STILL)
    assert (found[:, :, 1:-1, 1:-1] - 0.5).abs().max() < 0.02


def test_another_epoch_draws_anew() -> None:
    first, second = drawn(1, 0, np.arange(4)), drawn(1, 1, np.arange(4))
    assert not torch.equal(first["rotation"], second["rotation"])


def test_at_zero_strength_only_the_mirror_is_left() -> None:
    draws = drawn(0, 0, np.arange(6))
    found = augment(crops(), 32, 6, draws, STILL)
    wanted = plain(crops(), 32, 6)
    mirrored = (draws["flip"] < 0.5).view(-1, 1, 1, 1)
    assert 0 < mirrored.sum() < 6
    torch.testing.assert_close(found, torch.where(mirrored, wanted.flip(-1), wanted), rtol=0, atol=0.02)


def test_values_stay_in_range_and_every_change_happens() -> None:
    draws = drawn(0, 0, np.arange(6))
    found = augment(crops(), 32, 6, draws, EVERYTHING)
    assert found.shape == (6, 3, 32, 32)
    assert found.min() >= 0
    assert found.max() <= 1
    for (
        name
    ) in "grey cast fade gamma posterise vignette convolve blur sharpen noise jpeg erase surround".split():
        without = augment(crops(), 32, 6, draws, replace(EVERYTHING, **{name: 0.0}))
        assert (without - found).abs().max() > 1e-3, name


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_compression_does_what_a_codec_does(quality: int) -> None:
    """The same loss to a fifth, and nearer to the codec's picture than to the original."""
    images = plain(crops(), 32, 6)
    pixels = [(image.permute(1, 2, 0) * 255).round().byte().numpy() for image in images]
    coded = []
    for each in pixels:
        file = io.BytesIO()
        Image.fromarray(each).save(file, "JPEG", quality=quality)
        coded.append(torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255)
    theirs, ours = torch.stack(coded), jpeg(images, torch.full((len(images),), float(quality)))
    loss = [float((each - images).square().mean().sqrt()) for each in (theirs, ours)]
    assert loss[1] == pytest.approx(loss[0], rel=0.2)
    assert float((ours - theirs).square().mean().sqrt()) < loss[0]


def test_noise_is_standard_normal_and_a_seeds_own() -> None:
    seeds = torch.tensor([0.25, 0.5, 0.75])
    noise = gaussian_noise(seeds, torch.Size((3, 64, 64)))
    assert noise.mean().abs() < 0.02
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert torch.corrcoef(noise.flatten(1)).fill_diagonal_(0).abs().max() < 0.05
    assert torch.equal(gaussian_noise(seeds[1:2], torch.Size((3, 64, 64)))[0], noise[1])


def test_mixed_amplitudes_change_light_and_leave_detail() -> None:
    """The means move towards the partner's; what is left without the lowest frequencies stays as it was."""
    images = torch.stack([plain(crops(2), 64, 6)[0] * 0.3, plain(crops(2), 64, 6)[1] * 0.3 + 0.6])
    config = AugmentConfig(amplitude=1, amplitude_band=0.05)
    mixed = mix_amplitudes(images, drawn(0, 0, np.arange(2)), config)
    assert images[0].mean() < mixed[0].mean() < images[1].mean()
    high = [torch.fft.fft2(each)[..., 8:24, 8:24] for each in (images, mixed)]
    torch.testing.assert_close(high[0], high[1], rtol=1e-3, atol=1e-2)
    assert torch.equal(mix_amplitudes(images, drawn(0, 0, np.arange(2)), AugmentConfig()), images)


def test_a_second_view_is_the_same_photo_moved_a_little() -> None:
    images = plain(crops(), 32, 6)
    views = second_view(images, drawn(0, 0, np.arange(6)))
    straight = torch.where(
        (drawn(0, 0, np.arange(6))["view_flip"] < 0.5).view(-1, 1, 1, 1), views.flip(-1), views
    )

    def alike(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return torch.stack(
            [torch.corrcoef(torch.stack(pair).flatten(1))[0, 1] for pair in zip(first, second, strict=True)]
        )

    assert (alike(images, straight) > 0.5).all()
    assert (views - images).abs().amax(dim=(1, 2, 3)).min() > 0.01
