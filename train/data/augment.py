"""Augmentation of a batch of crops, drawn for each sample from its own random stream.

Every decision about a sample depends on (seed, epoch, sample number) alone, so a resumed run repeats it and the number
of processes does not change it. Libraries' transforms draw from one global stream, which can promise neither.
"""

import io
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

LUMA = torch.tensor([0.299, 0.587, 0.114])


@dataclass(frozen=True)
class AugmentConfig:
    """Strengths. Probabilities in [0, 1]; everything else is the half-width of a uniform draw unless said otherwise.

    Attributes:
        rotation: degrees.
        scale: of the logarithm of the scale.
        shift: share of the crop's side.
        brightness, contrast, saturation: of the factor round 1.
        hue: degrees on the colour circle.
        grey: probability of no colour.
        blur: probability of being sampled down by up to `blur_factor` and up again, as in a small or soft picture.
        noise: probability of Gaussian noise of up to `noise_level` (share of the value range).
        jpeg: probability of a JPEG round trip at a quality from `jpeg_quality` to 90.
        erase: probability of one box of 4 to 20 % of the area being covered by a flat colour.
    """

    rotation: float = 12.0
    scale: float = 0.14
    shift: float = 0.05
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    hue: float = 8.0
    grey: float = 0.08
    blur: float = 0.15
    blur_factor: float = 3.0
    noise: float = 0.1
    noise_level: float = 0.06
    jpeg: float = 0.1
    jpeg_quality: int = 25
    erase: float = 0.3


# One uniform draw each; the order fixes which draw is which.
DRAWS = (
    "flip rotation scale shift_x shift_y brightness contrast saturation hue grey blur blur_factor noise noise_level "
    "jpeg jpeg_quality erase erase_area erase_ratio erase_x erase_y erase_r erase_g erase_b"
).split()


def draw(seed: int, epoch: int, samples: np.ndarray) -> dict[str, Tensor]:
    """(B,) uniform draws in [0, 1) for each name in `DRAWS`; `samples` (B,) are sample numbers."""
    table = [np.random.default_rng((seed, epoch, int(number))).random(len(DRAWS)) for number in samples]
    return dict(zip(DRAWS, torch.from_numpy(np.stack(table)).float().unbind(1), strict=True))


def augment(
    crops: UInt8[Tensor, "batch side side 3"],
    size: int,
    margin: int,
    draws: dict[str, Tensor],
    config: AugmentConfig,
) -> Float[Tensor, "batch 3 size size"]:
    """Crops with `margin` pixels of context → pixels in [0, 1], resampled to `size`."""
    images = crops.permute(0, 3, 1, 2).float() / 255
    images = _warp(images, size, 1 - 2 * margin / crops.shape[1], draws, config)
    images = _colour(images, draws, config)
    images = _degrade(images, draws, config)
    return _erase(images, draws, config).clamp(0, 1)


def plain(
    crops: UInt8[Tensor, "batch side side 3"], size: int, margin: int
) -> Float[Tensor, "batch 3 size size"]:
    """The same without augmentation: the middle of the crop, anti-aliased when `size` is smaller."""
    side = crops.shape[1]
    images = crops[:, margin : side - margin, margin : side - margin].permute(0, 3, 1, 2).float() / 255
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bilinear", antialias=True).clamp(0, 1)


def _signed(draw: Tensor) -> Tensor:
    return 2 * draw - 1


def _warp(images: Tensor, size: int, zoom: float, draws: dict[str, Tensor], config: AugmentConfig) -> Tensor:
    """Flip, turn, scale and shift in one resampling. `zoom` is the model's view as a share of the cached crop."""
    angle = torch.deg2rad(_signed(draws["rotation"]) * config.rotation)
    factor = zoom * torch.exp(_signed(draws["scale"]) * config.scale)
    flip = torch.where(draws["flip"] < 0.5, -1.0, 1.0)
    cosine, sine = torch.cos(angle) * factor, torch.sin(angle) * factor
    shift = 2 * zoom * config.shift
    theta = torch.stack(
        [
            torch.stack([cosine * flip, -sine, _signed(draws["shift_x"]) * shift], dim=1),
            torch.stack([sine * flip, cosine, _signed(draws["shift_y"]) * shift], dim=1),
        ],
        dim=1,
    )
    grid = F.affine_grid(theta, [len(images), 3, size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def _colour(images: Tensor, draws: dict[str, Tensor], config: AugmentConfig) -> Tensor:
    """Brightness, contrast, saturation, hue and grey as one 3×3 matrix and one offset per sample."""
    count = len(images)
    brightness = 1 + _signed(draws["brightness"]) * config.brightness
    contrast = 1 + _signed(draws["contrast"]) * config.contrast
    saturation = 1 + _signed(draws["saturation"]) * config.saturation
    saturation = torch.where(draws["grey"] < config.grey, 0.0, saturation).view(count, 1, 1)
    grey = LUMA.expand(3, 3)
    matrix = saturation * torch.eye(3) + (1 - saturation) * grey
    matrix = matrix @ _hue_rotation(torch.deg2rad(_signed(draws["hue"]) * config.hue))
    mean = images.mean(dim=(1, 2, 3)).view(count, 1, 1, 1)
    matrix = matrix * (brightness * contrast).view(count, 1, 1)
    offset = mean * (brightness * (1 - contrast)).view(count, 1, 1, 1)
    return torch.einsum("bij,bjhw->bihw", matrix, images) + offset


def _hue_rotation(angle: Tensor) -> Tensor:
    """Turns about the grey axis of RGB (Rodrigues' formula)."""
    axis = torch.full((3,), 3**-0.5)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) * 3**-0.5
    angle = angle.view(-1, 1, 1)
    return angle.cos() * torch.eye(3) + angle.sin() * cross + (1 - angle.cos()) * torch.outer(axis, axis)


def _degrade(images: Tensor, draws: dict[str, Tensor], config: AugmentConfig) -> Tensor:
    """What cheap cameras and messengers do: soft pictures, noise, JPEG blocks."""
    size = images.shape[-1]
    images = images.clamp(0, 1)
    for index in torch.nonzero(draws["blur"] < config.blur).flatten().tolist():
        factor = 1 + float(draws["blur_factor"][index]) * (config.blur_factor - 1)
        small = (max(8, round(size / factor)),) * 2
        one = F.interpolate(images[index : index + 1], small, mode="bilinear", antialias=True)
        images[index] = F.interpolate(one, (size, size), mode="bilinear")[0]
    for index in torch.nonzero(draws["noise"] < config.noise).flatten().tolist():
        level = float(draws["noise_level"][index])
        generator = torch.Generator().manual_seed(int(level * 2**31))
        images[index] += torch.randn(images[index].shape, generator=generator) * level * config.noise_level
    for index in torch.nonzero(draws["jpeg"] < config.jpeg).flatten().tolist():
        quality = config.jpeg_quality + int(float(draws["jpeg_quality"][index]) * (90 - config.jpeg_quality))
        images[index] = _jpeg(images[index], quality)
    return images


def _jpeg(image: Float[Tensor, "3 height width"], quality: int) -> Float[Tensor, "3 height width"]:
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.array(Image.open(file, formats=["JPEG"]))).permute(2, 0, 1).float() / 255


def _erase(images: Tensor, draws: dict[str, Tensor], config: AugmentConfig) -> Tensor:
    """Cover one box by a flat colour (random erasing, Zhong et al., AAAI 2020)."""
    size = images.shape[-1]
    for index in torch.nonzero(draws["erase"] < config.erase).flatten().tolist():
        area = (0.04 + 0.16 * float(draws["erase_area"][index])) * size**2
        ratio = 3 ** _signed(draws["erase_ratio"][index]).item()
        height, width = (
            min(size, max(1, round(side))) for side in ((area * ratio) ** 0.5, (area / ratio) ** 0.5)
        )
        top = round(float(draws["erase_y"][index]) * (size - height))
        left = round(float(draws["erase_x"][index]) * (size - width))
        colour = torch.stack([draws[f"erase_{channel}"][index] for channel in "rgb"]).view(3, 1, 1)
        images[index, :, top : top + height, left : left + width] = colour
    return images
