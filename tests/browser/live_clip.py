"""Clips of a public-domain portrait moving about, as a camera would take them, each frame with its number in it.

The number stands along the lower edge as a bar code: white is 1, black is 0, the highest bit first, between a white and
a black cell at each end that tell whether a code is there at all. It outlives scaling and JPEG.
"""

from collections.abc import Iterator
from math import cos, pi, sin
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 320, 240
RATE = 30  # frames a second

BITS = 12
CELLS = BITS + 4
BAR = 16  # height of the bar code in pixels
BACKGROUND = (92, 108, 120)

Frame = np.ndarray


def swaying(
    portrait: Frame, seconds: float, rate: int = RATE, left: float = 0.5, height: float = 0.9
) -> Iterator[Frame]:
    """A portrait (HxWx3 uint8) that sways, nods and comes and goes a little round a place; ends as it begins.

    `left` is where its middle stands, as a share of the picture's width; `height` is its height as such a share.
    """
    source = Image.fromarray(portrait)
    count = round(seconds * rate)
    for index in range(count):
        phase = 2 * pi * index / count
        scale = height * (1 + 0.05 * sin(2 * phase)) * HEIGHT / source.height
        picture = source.resize(
            (round(source.width * scale), round(source.height * scale)), Image.Resampling.BILINEAR
        )
        picture = picture.rotate(4 * sin(3 * phase), Image.Resampling.BILINEAR, fillcolor=BACKGROUND)
        frame = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
        x = left * WIDTH + 24 * sin(phase) - picture.width / 2
        y = (HEIGHT - picture.height) / 2 + 6 * cos(2 * phase)
        frame.paste(picture, (round(x), round(y)))
        yield np.array(frame)


def still(portrait: Frame, seconds: float, noise: float = 4.0, rate: int = RATE) -> Iterator[Frame]:
    """A portrait held still, as well as a person can, before a camera that trembles and has noise (in grey levels)."""
    random = np.random.default_rng(0)
    source = Image.fromarray(portrait)
    scale = 0.95 * HEIGHT / source.height
    size = (round(source.width * scale), round(source.height * scale))
    place = np.zeros(2)
    for _ in range(round(seconds * rate)):
        place = 0.9 * place + random.normal(0, 0.6, 2)  # pixels
        frame = Image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
        moved = source.transform(
            size,
            Image.Transform.AFFINE,
            (1 / scale, 0, place[0] / scale, 0, 1 / scale, place[1] / scale),
            Image.Resampling.BILINEAR,
        )
        frame.paste(moved, ((WIDTH - size[0]) // 2, (HEIGHT - size[1]) // 2))
        yield np.clip(np.array(frame) + random.normal(0, noise, (HEIGHT, WIDTH, 1)), 0, 255).astype(np.uint8)


def beside(one: Iterator[Frame], other: Iterator[Frame]) -> Iterator[Frame]:
    """The left half of one clip and the right half of another."""
    for left, right in zip(one, other, strict=True):
        yield np.hstack([left[:, : WIDTH // 2], right[:, WIDTH // 2 :]])


def numbered(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The frames with their numbers from 0 drawn in."""
    for number, frame in enumerate(frames):
        marked = frame.copy()
        cells = [1, 0, *(number >> bit & 1 for bit in reversed(range(BITS))), 1, 0]
        for index, cell in enumerate(cells):
            left, right = index * WIDTH // CELLS, (index + 1) * WIDTH // CELLS
            marked[-BAR:, left:right] = 235 if cell else 20
        yield marked


def number(frame: Frame) -> int | None:
    """The number in a frame of any size, HxWx3; None where none can be read."""
    height, width = frame.shape[:2]
    row = frame[round(height * (1 - 0.5 * BAR / HEIGHT))].mean(axis=-1)
    cells = [row[int((index + 0.5) * width / CELLS)] > 127 for index in range(CELLS)]
    if cells[:2] != [True, False] or cells[-2:] != [True, False]:
        return None
    return sum(int(cell) << bit for bit, cell in enumerate(reversed(cells[2:-2])))


def write_y4m(path: Path, frames: Iterator[Frame], rate: int = RATE) -> Path:
    """The clip as an uncompressed video (YUV 4:2:0), which Chromium plays as a camera, over and over."""
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F{rate}:1 Ip A1:1 C420jpeg\n".encode())
        for frame in frames:
            luma, blue, red = np.moveaxis(np.asarray(Image.fromarray(frame).convert("YCbCr")), -1, 0)
            file.write(b"FRAME\n" + luma.tobytes())
            for plane in (blue, red):
                halves = plane.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean(axis=(1, 3))
                file.write(np.round(halves).astype(np.uint8).tobytes())
    return path
