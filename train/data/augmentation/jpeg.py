"""JPEG compression of a batch as arithmetic on tensors, each image at its own quality.

The loss is all in the quantisation of the 8×8 blocks' cosine transform, with halved chroma (ITU-T T.81, and the
Independent JPEG Group's scale of quality); the entropy coding after it loses nothing and is left out. So it runs on any
device, without a round trip through a codec.
"""

import math
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from train.data.constants import constant

# Tables K.1 and K.2 of T.81, in raster order.
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *[99] * 32,
)  # fmt: skip
TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


def jpeg(
    images: Float[Tensor, "batch 3 height width"], quality: Float[Tensor, " batch"]
) -> Float[Tensor, "batch 3 height width"]:
    """Images with values in [0, 1] as they come out of a JPEG file of a quality from 1 to 100."""
    height, width = images.shape[-2:]
    pixels = F.pad(images * 255, (0, -width % 16, 0, -height % 16), mode="replicate")
    planes = torch.einsum("ij,bjhw->bihw", constant(TO_YCC, images.device), pixels.round())
    quality = quality.round().clamp(1, 100)
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    luma = _quantised(planes[:, :1] - 128, LUMINANCE, percent) + 128
    chroma = _quantised(F.avg_pool2d(planes[:, 1:], 2), CHROMINANCE, percent)
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear")
    planes = torch.cat([luma, chroma], dim=1)
    pixels = torch.einsum("ij,bjhw->bihw", constant(TO_RGB, images.device), planes)
    return (pixels.round() / 255).clamp(0, 1)[..., :height, :width]


def _quantised(
    planes: Float[Tensor, "batch plane height width"],
    table: tuple[int, ...],
    percent: Float[Tensor, " batch"],
) -> Float[Tensor, "batch plane height width"]:
    """Planes whose blocks' coefficients are rounded to multiples of the scaled table."""
    steps = constant(table, planes.device).view(8, 8)
    steps = torch.floor((steps * percent.view(-1, 1, 1) + 50) / 100).clamp(1, 255).view(-1, 1, 1, 1, 8, 8)
    cosine = _cosine_transform(planes.device)
    blocks = planes.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).movedim(3, 4)
    coefficients = cosine @ blocks @ cosine.T
    blocks = cosine.T @ ((coefficients / steps).round() * steps) @ cosine
    return blocks.movedim(4, 3).flatten(4, 5).flatten(2, 3)


@cache
def _cosine_transform(device: torch.device) -> Float[Tensor, "8 8"]:
    """The orthonormal DCT-II, a row for each frequency."""
    place = torch.arange(8, device=device)
    matrix = 0.5 * torch.cos(math.pi * (2 * place + 1) * place.view(-1, 1) / 16)
    matrix[0] *= 0.5**0.5
    return matrix
