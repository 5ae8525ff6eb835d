"""Tone, light and quality of generated pictures are called by their names."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from train.data.attributes import COLUMN, PIXEL
from train.data.photo_attributes import measures, photo_attributes

SKIN = torch.tensor([0.72, 0.55, 0.46]).view(1, 3, 1, 1)


def picture(size: int = 128) -> Tensor:
    """A detailed, symmetric picture in the colours of skin, with values from dark to bright."""
    half = torch.rand(1, 1, 16, 8, generator=torch.Generator().manual_seed(0))
    coarse = F.interpolate(torch.cat([half, half.flip(-1)], dim=-1), (size, size))
    return (SKIN * (0.35 + 0.9 * coarse)).clamp(0, 1)


def value(image: Tensor, name: str) -> int:
    return int(photo_attributes(image)[0, COLUMN[name]])


def gray(image: Tensor) -> Tensor:
    return image.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)


def tinted(image: Tensor, *factors: float) -> Tensor:
    return (gray(image) * torch.tensor(factors).view(1, 3, 1, 1)).clamp(0, 1)


def blurred(image: Tensor) -> Tensor:
    small = F.interpolate(image, (8, 8), mode="bilinear", antialias=True)
    return F.interpolate(small, image.shape[-2:], mode="bicubic").clamp(0, 1)


def noisy(image: Tensor) -> Tensor:
    return image + 0.05 * torch.randn(image.shape, generator=torch.Generator().manual_seed(1))


def lit(image: Tensor, left: float, right: float) -> Tensor:
    return (image * torch.linspace(left, right, image.shape[-1])).clamp(0, 1)


SMOOTH = blurred(picture())

NAMED = {
    "black_and_white": gray(picture()),
    "warm": tinted(picture(), 1.4, 0.9, 0.4),
    "cold": tinted(picture(), 0.8, 1.0, 1.2),
    "vivid": tinted(picture(), 1.6, 0.6, 0.3),
    "faded": 0.5 + 0.3 * gray(picture()),
    "dark": picture() * 0.35,
    "bright": 0.6 + 0.5 * picture(),
    "strong_contrast": ((gray(picture()) - 0.45) * 4 + 0.5).clamp(0, 1),
    "low_contrast": 0.4 + 0.2 * picture(),
    "blurry": SMOOTH,
    "low_resolution": SMOOTH,
    "sharp": picture(),
    "grainy": noisy(SMOOTH),
    "lit_from_left": lit(picture(), 1.0, 0.1),
    "lit_from_right": lit(picture(), 0.1, 1.0),
}


@pytest.mark.parametrize("name", PIXEL)
def test_what_a_picture_shows_is_clearly_yes(name: str) -> None:
    assert value(NAMED[name], name) == 1


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("black_and_white", "warm"), ("dark", "bright"), ("bright", "dark"), ("blurry", "sharp"), ("sharp", "blurry"),
        ("strong_contrast", "low_contrast"), ("low_contrast", "strong_contrast"), ("lit_from_left", "lit_from_right"),
    ],
)  # fmt: skip
def test_the_contrary_is_clearly_no(name: str, other: str) -> None:
    assert value(NAMED[other], name) == -1


def test_nothing_is_said_of_the_colours_of_a_gray_picture_or_the_detail_of_a_noisy_one() -> None:
    assert [value(gray(picture()), name) for name in ("warm", "cold", "vivid")] == [0, 0, 0]
    assert [value(noisy(SMOOTH), name) for name in ("blurry", "sharp", "low_resolution")] == [0, 0, 0]


def test_a_flip_exchanges_the_side_of_the_light_and_nothing_else() -> None:
    image = lit(picture(), 1.0, 0.1)
    table, flipped = photo_attributes(image)[0], photo_attributes(image.flip(-1))[0]
    left, right = COLUMN["lit_from_left"], COLUMN["lit_from_right"]
    assert (table[left], table[right]) == (flipped[right], flipped[left]) == (1, -1)
    others = [column for column in range(len(PIXEL)) if column not in (left, right)]
    assert torch.equal(table[others], flipped[others])


def test_a_covering_box_leaves_a_gray_picture_gray() -> None:
    image = gray(picture()).clone()
    image[:, :, 20:70, 20:70] = torch.tensor([0.9, 0.1, 0.2]).view(1, 3, 1, 1)
    assert value(image, "black_and_white") == 1


def test_noise_is_measured_in_its_own_unit() -> None:
    image = torch.full((1, 3, 128, 128), 0.5)
    noise = torch.randn(1, 1, 128, 128, generator=torch.Generator().manual_seed(2))
    assert float(measures(image + 0.04 * noise)["noise"]) == pytest.approx(0.04, rel=0.15)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), size=st.sampled_from([64, 96, 112, 128, 224]), count=st.integers(1, 4))
def test_any_batch_has_one_three_valued_row_a_picture(seed: int, size: int, count: int) -> None:
    images = torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 3 - 1
    table = photo_attributes(images)
    assert table.shape == (count, len(PIXEL))
    assert table.dtype == torch.int8
    assert set(table.unique().tolist()) <= {-1, 0, 1}
    assert torch.equal(table[:1], photo_attributes(images[:1]))
