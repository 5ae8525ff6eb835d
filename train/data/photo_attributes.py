"""Tone, light and quality of a photo, measured on the pixels of a batch of crops.

They are measured after augmentation, so that captions describe what the model sees. Medians and quantiles over blocks
make them robust to a covering box of up to a fifth of the crop.
"""

import torch
from jaxtyping import Float, Int8
from torch import Tensor
from torch.nn import functional as F

from train.data.attributes import PIXEL, Rule
from train.data.constants import constant

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
LEVELS = (0.02, 0.05, 0.95)  # quantiles of the luma: black, dark, light
BLOCKS = 32  # a side, for colour and light
DETAIL_BLOCKS = 16  # a side, for sharpness and noise

# Blocks of the face without hair and background in the aligned crop: rows and columns.
FACE = slice(8, 26), slice(8, 24)
# Blocks of the cheeks: rows, columns in the left and in the right half.
CHEEK_ROWS, LEFT_CHEEK, RIGHT_CHEEK = slice(9, 24), slice(7, 14), slice(18, 25)


RULES = {
    "black_and_white": Rule("chroma", 0.012, 0.06),
    "warm": Rule("warmth", 0.70, 0.45),
    "cold": Rule("coldness", 0.03, -0.15),
    "vivid": Rule("chroma", 0.33, 0.22),
    "faded": Rule("fading", 0.0, -0.15),
    "dark": Rule("luma", 0.27, 0.42),
    "bright": Rule("luma", 0.73, 0.58),
    "strong_contrast": Rule("contrast", 0.90, 0.65),
    "low_contrast": Rule("contrast", 0.40, 0.60),
    "blurry": Rule("sharpness", 0.0130, 0.0230),
    "sharp": Rule("sharpness", 0.0390, 0.0200),
    "low_resolution": Rule("sharpness", 0.0106, 0.0270),
    "grainy": Rule("noise", 0.012, 0.004),
    "lit_from_left": Rule("light_from_left", 0.45, 0.15),
    "lit_from_right": Rule("light_from_left", -0.45, -0.15),
}
COLOURED = ("warm", "cold", "vivid")  # say nothing of a picture without colour
DETAILED = ("blurry", "sharp", "low_resolution")  # noise looks like detail


@torch.no_grad()
def photo_attributes(
    images: Float[Tensor, "photo 3 size size"],
) -> Int8[Tensor, "photo pixel_attribute"]:
    """Measure RGB crops in [0, 1]: +1 clearly yes, -1 clearly no, 0 unclear, in the order of `PIXEL`."""
    measured = measures(images)
    table = {name: rule.decide(measured[rule.measure]) for name, rule in RULES.items()}
    coloured = table["black_and_white"] == -1
    clean = table["grainy"] == -1
    for name in COLOURED:
        table[name] = table[name] * coloured
    for name in DETAILED:
        table[name] = table[name] * clean
    return torch.stack([table[name] for name in PIXEL], dim=1)


def measures(images: Float[Tensor, "photo 3 size size"]) -> dict[str, Float[Tensor, " photo"]]:
    """The continuous measurements that `RULES` cut.

    chroma: upper quartile over blocks of the distance from grey in (R - Y, B - Y).
    warmth, coldness: medians over the face of (R - B) / (Y + 0.1) and (B - max(R, G)) / (Y + 0.1). A background, or a
        green or pink cast, is not cold light.
    luma, contrast: mean, and 95th minus 5th percentile of the luma.
    fading: above 0 where black is lifted over 0.27, contrast under 0.42 and chroma under 0.2.
    sharpness: detail that halving the resolution loses, in the blocks with most of it, per contrast.
    noise: standard deviation of pixel noise in the smoother blocks.
    light_from_left: logarithm of the left cheek's luma over the right's.
    """
    images = images.float().clamp(0, 1)
    weights = constant(LUMA, images.device).view(1, 3, 1, 1)
    gray = (images * weights).sum(dim=1, keepdim=True)
    blocks = F.adaptive_avg_pool2d(images, BLOCKS)
    luma = (blocks * weights).sum(dim=1)
    red, blue = blocks[:, 0] - luma, blocks[:, 2] - luma
    flat = luma.flatten(1)
    black, low, high = flat.quantile(constant(LEVELS, images.device), dim=1)
    contrast = high - low
    chroma = (red**2 + blue**2).sqrt().flatten(1).quantile(0.75, dim=1)
    return {
        "chroma": chroma,
        "warmth": _over_face((blocks[:, 0] - blocks[:, 2]) / (luma + 0.1)),
        "coldness": _over_face((blocks[:, 2] - blocks[:, :2].amax(dim=1)) / (luma + 0.1)),
        "luma": flat.mean(dim=1),
        "contrast": contrast,
        "fading": torch.stack([black - 0.27, 0.42 - contrast, 0.2 - chroma]).amin(dim=0),
        "sharpness": _block_mean(_lost_by_halving(gray)).quantile(0.85, dim=1) / (contrast + 0.05),
        "noise": _noise(gray).quantile(0.2, dim=1),
        "light_from_left": _light_from_left(luma),
    }


def _over_face(values: Float[Tensor, "photo rows columns"]) -> Float[Tensor, " photo"]:
    return values[:, *FACE].flatten(1).median(dim=1).values


def _block_mean(values: Float[Tensor, "photo 1 height width"]) -> Float[Tensor, "photo block"]:
    return F.adaptive_avg_pool2d(values, DETAIL_BLOCKS).flatten(1)


def _lost_by_halving(gray: Float[Tensor, "photo 1 size size"]) -> Float[Tensor, "photo 1 size size"]:
    size = gray.shape[-1]
    small = F.avg_pool2d(gray, 2)
    return (gray - F.interpolate(small, (size, size), mode="bilinear")).abs()


def _noise(gray: Float[Tensor, "photo 1 size size"]) -> Float[Tensor, "photo block"]:
    """Mean magnitude of Immerkaer's filter in each block, as the standard deviation of Gaussian noise.

    His 3×3 filter is the second difference along both axes ("Fast noise variance estimation", 1996): 0 on smooth
    pictures, six times the noise's standard deviation on others.
    """
    rows = gray[..., 2:, :] - 2 * gray[..., 1:-1, :] + gray[..., :-2, :]
    both = rows[..., 2:] - 2 * rows[..., 1:-1] + rows[..., :-2]
    # The mean magnitude of a Gaussian is its standard deviation times the square root of 2 / pi.
    return _block_mean(both.abs()) / 6 * (torch.pi / 2) ** 0.5


def _light_from_left(luma: Float[Tensor, "photo rows columns"]) -> Float[Tensor, " photo"]:
    left, right = (
        luma[:, CHEEK_ROWS, columns].flatten(1).median(dim=1).values for columns in (LEFT_CHEEK, RIGHT_CHEEK)
    )
    return ((left + 0.03) / (right + 0.03)).log()
