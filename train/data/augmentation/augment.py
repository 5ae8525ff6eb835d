"""Augmentation of a batch of crops on the training device, drawn for each sample from its own random stream.

Every decision about a sample depends on (seed, step, sample number) alone, so a resumed run repeats it and the number
of processes does not change it; whose amplitudes it takes depends on the batch too. Libraries' transforms draw from one
global stream, which can promise neither.

A change that only some samples get is computed for these samples at once, found by their index; the draws stay on the
CPU beside their copy on the device, so that no index is read back from a GPU.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional as F

from train.data.augmentation.jpeg import jpeg
from train.data.augmentation.noise import gaussian_noise
from train.data.constants import constant

LUMA = (0.299, 0.587, 0.114)
YELLOW = (0.08, 0.02, -0.12)  # of a print that has faded
ABOUT_GREY = ((0.0, -1.0, 1.0), (1.0, 0.0, -1.0), (-1.0, 1.0, 0.0))  # cross product with (1, 1, 1)


@dataclass(frozen=True)
class AugmentConfig:
    """Strengths. Probabilities in [0, 1]; everything else is the half-width of a uniform draw unless said otherwise.

    Attributes:
        rotation: degrees.
        scale: of the logarithm of the scale.
        shift: share of the crop's side.
        brightness, contrast, saturation: of the factor around 1.
        hue: degrees on the colour circle.
        grey: probability of no colour.
        cast: probability of a colour cast; each channel's gain is drawn within ± `cast_level`.
        fade: probability of a faded print: less contrast, a raised black point, a yellow tint.
        gamma: probability of a gamma whose logarithm is within ± `gamma_level`.
        posterise: probability of as few as 8 levels a channel.
        vignette: probability of corners darker by up to 80 %.
        convolve: probability of a random 3×3 convolution over space and colour, mixed with the image (RandConv, Xu et
            al., ICLR 2021).
        blur: probability of being sampled down by up to `blur_factor` and up again, as in a small or soft picture.
        sharpen: probability of an unsharp mask of up to `sharpen_level` times the detail.
        noise: probability of Gaussian noise of up to `noise_level` (share of the value range), white or, for every
            second picture, grey and soft as film grain.
        jpeg: probability of JPEG compression at a quality from `jpeg_quality` to 90.
        erase: probability of one box of 4 to 20 % of the area being covered by a flat colour.
        spared: probability that a sample gets none of the changes from `grey` to `jpeg`, nor `surround`, nor
            `amplitude`: most photos are fair ones, and must not become rare.
        surround: probability that all outside an ellipse around the face is covered by a colour, by noise or by blur.
        amplitude: probability that the lowest spatial frequencies take part of another photo's amplitudes (Fourier
            domain adaptation, Yang and Soatto, CVPR 2020; with a random share as in FACT, Xu et al., CVPR 2021).
        amplitude_band: largest half-width of that band, as a share of all frequencies: low enough to hold light and
            colour, and no wrinkle.
    """

    rotation: float = 12.0
    scale: float = 0.14
    shift: float = 0.05
    brightness: float = 0.3
    contrast: float = 0.3
    saturation: float = 0.3
    hue: float = 8.0
    grey: float = 0.08
    cast: float = 0.0
    cast_level: float = 0.2
    fade: float = 0.0
    gamma: float = 0.0
    gamma_level: float = 0.5
    posterise: float = 0.0
    vignette: float = 0.0
    convolve: float = 0.0
    blur: float = 0.15
    blur_factor: float = 3.0
    sharpen: float = 0.0
    sharpen_level: float = 1.5
    noise: float = 0.1
    noise_level: float = 0.06
    jpeg: float = 0.1
    jpeg_quality: int = 25
    erase: float = 0.3
    spared: float = 0.0
    surround: float = 0.0
    amplitude: float = 0.0
    amplitude_band: float = 0.08


# One uniform draw each; the order fixes which draw is which.
DRAWS = (
    "flip rotation scale shift_x shift_y brightness contrast saturation hue grey blur blur_factor noise noise_level "
    "jpeg jpeg_quality erase erase_area erase_ratio erase_x erase_y erase_r erase_g erase_b "
    "cast cast_r cast_g cast_b fade fade_level fade_tint gamma gamma_level posterise posterise_level "
    "vignette vignette_level vignette_x vignette_y convolve convolve_share sharpen sharpen_level sharpen_radius grain "
    "surround surround_kind surround_width surround_height surround_r surround_g surround_b "
    "amplitude amplitude_share amplitude_band noise_seed convolve_seed surround_seed "
    "view_flip view_whole view_x view_y view_scale view_brightness view_jpeg view_jpeg_quality spared"
).split()
OPTIONAL = (
    "grey cast fade gamma posterise vignette convolve blur sharpen noise jpeg surround amplitude".split()
)
COLUMN = {name: number for number, name in enumerate(DRAWS)}


class Draws:
    """Uniform draws in [0, 1) of B samples by name, on the CPU and on the device.

    Args:
        table: (B, draws) as `draw` gives it, on the CPU.
        device: where the pixels are.
    """

    def __init__(self, table: Float[Tensor, "batch draw"], device: torch.device | str = "cpu") -> None:
        self._table = table
        self._device = torch.device(device)
        self._there = table.to(self._device, non_blocking=True)

    def __getitem__(self, name: str) -> Float[Tensor, " batch"]:
        return self._there[:, COLUMN[name]]

    def signed(self, name: str) -> Float[Tensor, " batch"]:
        """Draws in [−1, 1)."""
        return 2 * self[name] - 1

    def chosen(self, name: str, probability: float) -> Int[Tensor, " chosen"]:
        """Positions of the samples whose draw is below a probability."""
        index = torch.nonzero(self.below(name, probability)).flatten()
        return index.to(self._device, non_blocking=True)

    def below(self, name: str, probability: float) -> Bool[Tensor, " batch"]:
        """Whether each draw is below a probability, on the CPU."""
        return self._table[:, COLUMN[name]] < probability

    def sparing(self, probability: float) -> "Draws":
        """The same with every optional change kept from some samples."""
        table = self._table.clone()
        spared = torch.nonzero(table[:, COLUMN["spared"]] < probability)
        table[spared, torch.tensor([COLUMN[name] for name in OPTIONAL])] = 1.0
        return Draws(table, self._device)

    def first(self, count: int) -> "Draws":
        """Those of the first samples."""
        return Draws(self._table[:count], self._device)

    def at(self, index: Int[Tensor, " chosen"], *names: str) -> tuple[Tensor, ...]:
        """The named draws of some samples, each (n, 1, 1, 1) to go with pixels."""
        return tuple(self[name][index].view(-1, 1, 1, 1) for name in names)


def draw(seed: int, step: int, samples: np.ndarray) -> Float[Tensor, "batch draw"]:
    """Uniform draws in [0, 1), one column for each name in `DRAWS`; `samples` (B,) are sample numbers. A photo that an
    epoch shows several times looks different each time."""
    table = [np.random.default_rng((seed, step, int(number))).random(len(DRAWS)) for number in samples]
    return torch.from_numpy(np.stack(table)).float()


def augment(
    crops: UInt8[Tensor, "batch side side 3"],
    size: int,
    margin: int,
    draws: Draws,
    config: AugmentConfig,
) -> Float[Tensor, "batch 3 size size"]:
    """Crops with `margin` pixels of context → pixels in [0, 1], resampled to `size`. No sample changes another."""
    images = crops.permute(0, 3, 1, 2).float() / 255
    images, places = _warp(images, size, 1 - 2 * margin / crops.shape[1], draws, config)
    images = _surround(images, places, draws, config)
    images = _colour(images, draws, config)
    images = _tone(images, draws, config).clamp(0, 1)
    images = _convolve(images, draws, config)
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


def mix_amplitudes(
    images: Float[Tensor, "batch 3 size size"], draws: Draws, config: AugmentConfig
) -> Float[Tensor, "batch 3 size size"]:
    """Give some samples part of their partner's amplitudes at the lowest frequencies; phases stay. The batch is in
    random order, so its reverse is a random partner for each."""
    index = draws.chosen("amplitude", config.amplitude)
    if not len(index):
        return images
    spectrum, other = torch.fft.rfft2(images[index]), torch.fft.rfft2(images[len(images) - 1 - index])
    share, band = draws.at(index, "amplitude_share", "amplitude_band")
    rows = torch.fft.fftfreq(images.shape[-2], device=images.device).abs().view(-1, 1)
    columns = torch.fft.rfftfreq(images.shape[-1], device=images.device)
    low = torch.maximum(rows, columns) <= band * config.amplitude_band
    amplitude = spectrum.abs()
    mixed = torch.where(low, amplitude.lerp(other.abs(), share), amplitude)
    spectrum = spectrum * (mixed / amplitude.clamp(min=1e-6))
    return images.index_copy(0, index, torch.fft.irfft2(spectrum, s=images.shape[-2:]).clamp(0, 1))


def second_view(
    images: Float[Tensor, "batch 3 size size"], draws: Draws
) -> Float[Tensor, "batch 3 size size"]:
    """The same photos as another frame of a video might show them: mirrored or not, shifted by up to 3 pixels (half of
    them by whole ones, without a change of scale), scaled by 0.96 to 1.04, 0.7 to 1.3 times as bright, and some
    compressed again. An age must not change with it."""
    size = images.shape[-1]
    whole = draws["view_whole"] < 0.5
    shifts = [3 * draws.signed(name) for name in ("view_x", "view_y")]
    x, y = (torch.where(whole, shift.round(), shift) * 2 / size for shift in shifts)
    scale = torch.where(whole, 1.0, 1 + 0.04 * draws.signed("view_scale"))
    flip = torch.where(draws["view_flip"] < 0.5, -scale, scale)
    zero = torch.zeros_like(x)
    theta = torch.stack([torch.stack([flip, zero, x], dim=1), torch.stack([zero, scale, y], dim=1)], dim=1)
    views = _sample(images, theta, size)[0] * (1 + 0.3 * draws.signed("view_brightness")).view(-1, 1, 1, 1)
    views = views.clamp(0, 1)
    index = draws.chosen("view_jpeg", 0.4)
    if len(index):
        views = views.index_copy(0, index, jpeg(views[index], 60 + 35 * draws["view_jpeg_quality"][index]))
    return views


def _warp(
    images: Tensor, size: int, zoom: float, draws: Draws, config: AugmentConfig
) -> tuple[Tensor, Tensor]:
    """Flip, turn, scale and shift in one resampling, of crops that are first made as much smaller as the pictures are
    to be, without aliasing; also the (B, S, S, 2) places that the pixels come from, from −1 to 1 over the model's view.
    `zoom` is that view as a share of the cached crop."""
    side = round(size / zoom)
    if side < images.shape[-1]:
        images = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
    angle = torch.deg2rad(draws.signed("rotation") * config.rotation)
    factor = zoom * torch.exp(draws.signed("scale") * config.scale)
    flip = torch.where(draws["flip"] < 0.5, -1.0, 1.0)
    cosine, sine = torch.cos(angle) * factor, torch.sin(angle) * factor
    shift = 2 * zoom * config.shift
    theta = torch.stack(
        [
            torch.stack([cosine * flip, -sine, draws.signed("shift_x") * shift], dim=1),
            torch.stack([sine * flip, cosine, draws.signed("shift_y") * shift], dim=1),
        ],
        dim=1,
    )
    warped, grid = _sample(images, theta, size)
    return warped, grid / zoom


def _sample(images: Tensor, theta: Tensor, size: int) -> tuple[Tensor, Tensor]:
    grid = F.affine_grid(theta, [len(images), 3, size, size], align_corners=False)
    sampled = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return sampled, grid


def _surround(images: Tensor, places: Tensor, draws: Draws, config: AugmentConfig) -> Tensor:
    """Cover hair and background, which tell the data set and the fashion, outside an ellipse around the face."""
    index = draws.chosen("surround", config.surround)
    if not len(index):
        return images
    kind, width, height = draws.at(index, "surround_kind", "surround_width", "surround_height")
    x, y = places[index].movedim(-1, 1).split(1, dim=1)
    # Eyes lie at ±0.4 and −0.4, the mouth's centre at 0.45 (cilf.face.alignment.TEMPLATE).
    radius = (x / (0.75 + 0.25 * width)) ** 2 + ((y - 0.05) / (0.95 + 0.2 * height)) ** 2
    inside = torch.sigmoid((1 - radius) * 12)
    kept = images[index]
    colour = torch.stack([draws[f"surround_{channel}"][index] for channel in "rgb"], dim=1).view(-1, 3, 1, 1)
    noise = 0.25 * gaussian_noise(draws["surround_seed"][index], kept.shape[1:])
    blurred = F.interpolate(F.adaptive_avg_pool2d(kept, 6), kept.shape[-2:], mode="bilinear")
    fill = torch.where(kind < 0.4, colour, torch.where(kind < 0.7, colour + noise, blurred))
    return images.index_copy(0, index, torch.lerp(fill, kept, inside).clamp(0, 1))


def _colour(images: Tensor, draws: Draws, config: AugmentConfig) -> Tensor:
    """Brightness, contrast, saturation, hue, grey, cast and fading as one 3×3 matrix and one offset per sample."""
    count, device = len(images), images.device
    brightness = 1 + draws.signed("brightness") * config.brightness
    contrast = 1 + draws.signed("contrast") * config.contrast
    saturation = 1 + draws.signed("saturation") * config.saturation
    fade = torch.where(draws["fade"] < config.fade, draws["fade_level"], 0.0)
    contrast, saturation = contrast * (1 - 0.5 * fade), saturation * (1 - 0.6 * fade)
    saturation = torch.where(draws["grey"] < config.grey, 0.0, saturation).view(count, 1, 1)
    one = torch.eye(3, device=device)
    matrix = saturation * one + (1 - saturation) * constant(LUMA, device).expand(3, 3)
    matrix = matrix @ _hue_rotation(torch.deg2rad(draws.signed("hue") * config.hue))
    cast = torch.stack([draws.signed(f"cast_{channel}") for channel in "rgb"], dim=1) * config.cast_level
    gain = 1 + torch.where((draws["cast"] < config.cast).unsqueeze(1), cast, 0.0)
    yellow = constant(YELLOW, device) * (fade * draws["fade_tint"]).unsqueeze(1)
    mean = images.mean(dim=(1, 2, 3)).unsqueeze(1)
    matrix = gain.unsqueeze(2) * matrix * (brightness * contrast).view(count, 1, 1)
    offset = mean * gain * (brightness * (1 - contrast)).unsqueeze(1) + yellow + 0.12 * fade.unsqueeze(1)
    return torch.einsum("bij,bjhw->bihw", matrix, images) + offset.view(count, 3, 1, 1)


def _hue_rotation(angle: Tensor) -> Tensor:
    """Turns about the grey axis of RGB (Rodrigues' formula)."""
    axis = torch.full((3,), 3**-0.5, device=angle.device)
    cross = constant(ABOUT_GREY, angle.device) * 3**-0.5
    angle = angle.view(-1, 1, 1)
    turned = angle.cos() * torch.eye(3, device=angle.device) + angle.sin() * cross
    return turned + (1 - angle.cos()) * torch.outer(axis, axis)


def _tone(images: Tensor, draws: Draws, config: AugmentConfig) -> Tensor:
    """Gamma, vignette and posterising."""
    index = draws.chosen("gamma", config.gamma)
    if len(index):
        gamma = torch.exp((2 * draws.at(index, "gamma_level")[0] - 1) * config.gamma_level)
        images = images.index_copy(0, index, images[index].clamp(1e-4, 1) ** gamma)
    index = draws.chosen("vignette", config.vignette)
    if len(index):
        level, x, y = draws.at(index, "vignette_level", "vignette_x", "vignette_y")
        axis = torch.linspace(-1, 1, images.shape[-1], device=images.device)
        distance = (axis - x + 0.5) ** 2 + (axis.view(-1, 1) - y + 0.5) ** 2
        images = images.index_copy(0, index, images[index] * (1 - 0.3 * level * distance).clamp(min=0.2))
    index = draws.chosen("posterise", config.posterise)
    if len(index):
        levels = 8 + 24 * draws.at(index, "posterise_level")[0]
        images = images.index_copy(0, index, (images[index] * levels).round() / levels)
    return images


def _convolve(images: Tensor, draws: Draws, config: AugmentConfig) -> Tensor:
    """A random convolution with the image's own mean and spread, mixed in by up to a half."""
    index = draws.chosen("convolve", config.convolve)
    if not len(index):
        return images
    kept = images[index]
    filters = gaussian_noise(draws["convolve_seed"][index], torch.Size((3, 27)))
    patches = F.unfold(F.pad(kept, (1, 1, 1, 1), mode="reflect"), 3)
    made = torch.einsum("bop,bpx->box", filters, patches).view_as(kept)
    spread, mean = torch.std_mean(made, dim=(2, 3), keepdim=True)
    own_spread, own_mean = torch.std_mean(kept, dim=(2, 3), keepdim=True)
    made = (made - mean) / spread.clamp(min=1e-3) * own_spread + own_mean
    share = 0.5 * draws.at(index, "convolve_share")[0]
    return images.index_copy(0, index, kept.lerp(made, share).clamp(0, 1))


def _degrade(images: Tensor, draws: Draws, config: AugmentConfig) -> Tensor:
    """What cheap cameras, old prints and messengers do: soft pictures, sharpened ones, noise, JPEG blocks."""
    size = images.shape[-1]
    index = draws.chosen("blur", config.blur)
    if len(index):
        factor = 1 + draws["blur_factor"][index] * (config.blur_factor - 1)
        images = images.index_copy(0, index, _along_both(_down_and_up(size, factor), images[index]))
    index = draws.chosen("sharpen", config.sharpen)
    if len(index):
        [level] = draws.at(index, "sharpen_level")
        soft = _along_both(_gaussian(size, 0.6 + 1.4 * draws["sharpen_radius"][index]), images[index])
        detail = images[index] - soft
        images = images.index_copy(0, index, images[index] + level * config.sharpen_level * detail)
    index = draws.chosen("noise", config.noise)
    if len(index):
        level, grain = draws.at(index, "noise_level", "grain")
        white = gaussian_noise(draws["noise_seed"][index], images.shape[1:])
        soft = _along_both(_gaussian(size, torch.full_like(draws["grain"][index], 0.7)), white[:, :1])
        noise = torch.where(grain < 0.5, 2.5 * soft, white)  # softened, noise has 0.4 of its spread
        images = images.index_copy(0, index, images[index] + noise * level * config.noise_level)
    index = draws.chosen("jpeg", config.jpeg)
    if len(index):
        quality = config.jpeg_quality + draws["jpeg_quality"][index] * (90 - config.jpeg_quality)
        images = images.index_copy(0, index, jpeg(images[index].clamp(0, 1), quality))
    return images


def _along_both(matrix: Float[Tensor, "batch size size"], images: Tensor) -> Tensor:
    """A linear map of rows, applied to both axes of each image."""
    return matrix.unsqueeze(1) @ images @ matrix.unsqueeze(1).mT


def _down_and_up(size: int, factor: Float[Tensor, " batch"]) -> Float[Tensor, "batch size size"]:
    """Sampling a row down by a factor (triangle filter as wide as the factor) and linearly up again."""
    place = torch.arange(size, dtype=torch.float32, device=factor.device)
    factor = factor.view(-1, 1, 1)
    count = torch.floor(size / factor)
    centres = (place + 0.5).view(-1, 1) * (size / count) - 0.5
    down = (1 - (place - centres).abs() / factor).clamp(min=0)
    down = down / down.sum(dim=-1, keepdim=True).clamp(min=1e-6)
    source = ((place + 0.5) * (count / size) - 0.5).clamp(min=0).minimum(count - 1)
    up = (1 - (source.mT - place).abs()).clamp(min=0)
    return up @ down


def _gaussian(size: int, sigma: Float[Tensor, " batch"]) -> Float[Tensor, "batch size size"]:
    place = torch.arange(size, dtype=torch.float32, device=sigma.device)
    weights = torch.exp(-((place - place.view(-1, 1)) ** 2) / (2 * sigma.view(-1, 1, 1) ** 2))
    return weights / weights.sum(dim=-1, keepdim=True)


def _erase(images: Tensor, draws: Draws, config: AugmentConfig) -> Tensor:
    """Cover one box by a flat colour (random erasing, Zhong et al., AAAI 2020)."""
    index = draws.chosen("erase", config.erase)
    if not len(index):
        return images
    size = images.shape[-1]
    area, ratio, left, top = draws.at(index, "erase_area", "erase_ratio", "erase_x", "erase_y")
    area, ratio = (0.04 + 0.16 * area) * size**2, 3 ** (2 * ratio - 1)
    height, width = ((side**0.5).round().clamp(1, size) for side in (area * ratio, area / ratio))
    top, left = (top * (size - height)).round(), (left * (size - width)).round()
    place = torch.arange(size, device=images.device)
    columns = (place >= left) & (place < left + width)
    rows = (place.view(-1, 1) >= top) & (place.view(-1, 1) < top + height)
    colour = torch.stack([draws[f"erase_{channel}"][index] for channel in "rgb"], dim=1).view(-1, 3, 1, 1)
    return images.index_copy(0, index, torch.where(rows & columns, colour, images[index]))
