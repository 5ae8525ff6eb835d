"""Any number of photos of one face each: the two portraits of the public domain, cut, resized and relit."""

import io
from collections.abc import Container, Iterator

import numpy as np
import skimage.data
from matplotlib.cbook import get_sample_data
from PIL import Image, ImageEnhance

BROKEN = b"This is no picture."


def generated_photos(count: int, broken: Container[int] = ()) -> Iterator[tuple[str, bytes]]:
    """(name, content) of `count` JPEG files, made one by one; those numbered in `broken` are none."""
    with get_sample_data("grace_hopper.jpg") as file:
        hopper = Image.open(file).convert("RGB")
    portraits = (hopper, Image.fromarray(skimage.data.astronaut()))
    for number in range(count):
        yield f"{number:04}.jpg", BROKEN if number in broken else _photo(portraits[number % 2], number)


def _photo(portrait: Image.Image, seed: int) -> bytes:
    draw = np.random.default_rng(seed)
    width, height = portrait.size
    # Both faces lie in the upper middle; what is cut off here is shoulders and background. Something goes from the
    # bottom always: in one cut of a thousand the detector took the emblems on Collins' suit for a second face.
    left, right = draw.uniform(0, 0.12, 2)
    bottom = draw.uniform(0.2, 0.3)
    cut = portrait.crop((int(left * width), 0, int((1 - right) * width), int((1 - bottom) * height)))
    scale = draw.uniform(0.8, 2.4)
    photo = cut.resize((int(scale * cut.width), int(scale * cut.height)), Image.Resampling.BILINEAR)
    photo = ImageEnhance.Brightness(photo).enhance(draw.uniform(0.75, 1.25))
    buffer = io.BytesIO()
    photo.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def pasted_photos(count: int, size: tuple[int, int] = (640, 480)) -> Iterator[tuple[str, bytes]]:
    """(name, content) of `count` JPEG files of this width and height: a portrait of a third to two thirds of the height
    on a smooth background."""
    with get_sample_data("grace_hopper.jpg") as file:
        hopper = Image.open(file).convert("RGB")
    portraits = (hopper, Image.fromarray(skimage.data.astronaut()))
    for number in range(count):
        draw = np.random.default_rng(number)
        coarse = draw.integers(60, 200, (6, 8, 3), np.uint8)
        photo = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
        height = int(size[1] * draw.uniform(0.33, 0.67))
        portrait = portraits[number % 2]
        portrait = portrait.resize((round(portrait.width * height / portrait.height), height))
        place = (int(draw.uniform(0, size[0] - portrait.width)), int(draw.uniform(0, size[1] - height)))
        photo.paste(portrait, place)
        buffer = io.BytesIO()
        photo.save(buffer, "JPEG", quality=90)
        yield f"{number:04}.jpg", buffer.getvalue()
