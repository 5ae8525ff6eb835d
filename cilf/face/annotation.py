"""Pictures that the page shows: the photo with its faces boxed and labelled, and the heat map laid over a face."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cilf.face.boxes import Box
from cilf.prediction import FacePrediction

# Okabe and Ito's colours stay apart in every common colour blindness; each also differs here in thickness and number.
CHOSEN = (240, 168, 48)
OTHER = (86, 180, 233)
INK = (13, 24, 34)

# The photo is shown about this wide on a desk, and half as wide on a phone; text and lines are scaled to it. So text of
# 23 pixels is 12 on a phone, and in a crowd 15 are 8 there. Labels shrink below that only where they would not fit.
SHOWN_WIDTH = 620
TEXT_PX = 23
CROWD_TEXT_PX = 15.2
SHRINKING = (1.0, 0.9, 0.8, 0.72, 0.65)
CROWD = 3  # more faces than these are a crowd
LINE_PX = 2.2

# Dark blue over grey to yellow in even steps of lightness, which every colour blindness leaves in order.
HEAT_COLOURS = np.array(
    [[8, 29, 71], [58, 72, 108], [114, 116, 120], [176, 160, 105], [246, 214, 70]], dtype=float
)
HEAT_COVER = 0.62

# The colour of each of 256 heats.
_HEAT = (
    np.stack(
        [
            np.interp(np.linspace(0, 1, 256), np.linspace(0, 1, len(HEAT_COLOURS)), channel)
            for channel in HEAT_COLOURS.T
        ],
        axis=1,
    )
    .round()
    .astype(np.uint8)
)


@dataclass(frozen=True)
class Label:
    """What stands on a face's box, how large (the font's size in pixels of the photo), and where."""

    text: str
    size: float
    place: Box


def annotate(
    photo: np.ndarray,
    faces: Sequence[FacePrediction],
    chosen: int | None = 0,
    numbers: Sequence[int] | None = None,
) -> np.ndarray:
    """Draw every face's box with its number and age onto a copy of the photo, at the photo's full size.

    Args:
        photo: HxWx3 uint8 RGB, upright.
        faces: the faces in it.
        chosen: index of the face to stress, or None.
        numbers: of the faces; None counts them from 1.

    Returns:
        HxWx3 uint8 RGB.
    """
    image = Image.fromarray(photo)
    draw = ImageDraw.Draw(image)
    height, width = photo.shape[:2]
    unit = max(width, height) / SHOWN_WIDTH
    order = sorted(range(len(faces)), key=lambda index: index == chosen)  # the chosen one on top
    for index in order:
        _draw_box(draw, Box(*faces[index].box), index == chosen, unit)
    for index, each in lay_out((width, height), faces, chosen, numbers).items():
        _draw_label(draw, each, CHOSEN if index == chosen else OTHER)
    return np.asarray(image)


def lay_out(
    photo_size: tuple[int, int],
    faces: Sequence[FacePrediction],
    chosen: int | None = 0,
    numbers: Sequence[int] | None = None,
) -> dict[int, Label]:
    """Every face's label, the chosen one's first: as large as they can be without covering each other or other faces.

    Args:
        photo_size: the photo's width and height.
        faces, chosen, numbers: as `annotate` takes them.

    Returns:
        Index of the face -> its label: its number and its age in whole years.
    """
    numbers = range(1, len(faces) + 1) if numbers is None else numbers
    names = [f"{number} · {face.age:.0f}" for number, face in zip(numbers, faces, strict=True)]
    best, least = {}, float("inf")
    for share in SHRINKING:
        labels, harm = _lay_out(photo_size, faces, names, chosen, share)
        if harm < 0.999 * least:  # the larger text, unless the smaller one is of use
            best, least = labels, harm
        if harm == 0 or len(faces) <= CROWD:
            break
    return best


def face_at(faces: Sequence[FacePrediction], x: float, y: float) -> int | None:
    """Index of the face whose box holds the point (pixels of the photo), of several the smallest; else None."""
    boxes = [Box(*face.box) for face in faces]
    holding = [index for index, box in enumerate(boxes) if box.holds(x, y)]
    return min(holding, key=lambda index: boxes[index].area, default=None)


def overlay_heat(crop: np.ndarray, heatmap: np.ndarray, size: int = 448) -> np.ndarray:
    """Lay the heat map over the face: blue where it is 0, yellow where it is 1, the face in grey beneath.

    Args:
        crop: SxSx3 uint8 RGB.
        heatmap: HxW, values in [0, 1].
        size: side of the result in pixels.

    Returns:
        size x size x 3 uint8 RGB.
    """
    face = Image.fromarray(crop).convert("L").resize((size, size), Image.Resampling.LANCZOS)
    cells = Image.fromarray(np.clip(heatmap, 0, 1).astype(np.float32))
    heat = np.clip(np.asarray(cells.resize((size, size), Image.Resampling.BICUBIC)), 0, 1)
    colour = Image.fromarray(_HEAT[np.rint(255 * heat).astype(np.uint8)])
    return np.asarray(Image.blend(face.convert("RGB"), colour, HEAT_COVER))


def _draw_box(draw: ImageDraw.ImageDraw, box: Box, chosen: bool, unit: float) -> None:
    line = max(1, round(LINE_PX * unit * (1.7 if chosen else 1)))
    casing = max(1, round(unit))  # a dark edge on both sides keeps the line visible on a pale photo
    radius = max(2, round(6 * unit))
    x0, y0, x1, y1 = box
    draw.rounded_rectangle(
        (x0 - casing, y0 - casing, x1 + casing, y1 + casing), radius, outline=INK, width=line + 2 * casing
    )
    draw.rounded_rectangle(box, radius, outline=CHOSEN if chosen else OTHER, width=line)


def _lay_out(
    photo_size: tuple[int, int],
    faces: Sequence[FacePrediction],
    names: Sequence[str],
    chosen: int | None,
    share: float,
) -> tuple[dict[int, Label], float]:
    """The labels with `share` of their full size, and the harm that they do (`_place`)."""
    unit = max(photo_size) / SHOWN_WIDTH
    boxes = np.array([face.box for face in faces], dtype=float).reshape(-1, 4)
    occupied = np.empty_like(boxes)
    labels: dict[int, Label] = {}
    harm = 0.0
    for index in sorted(range(len(faces)), key=lambda index: (index != chosen, -index)):
        text, box = names[index], Box(*faces[index].box)
        size = max(8.0, share * _text_size(box, len(faces), unit))
        place, harms = _place(_extent(text, size), box, photo_size, occupied[: len(labels)], boxes)
        occupied[len(labels)] = place
        labels[index] = Label(text, size, place)
        harm += harms
    return labels, harm


def _text_size(box: Box, count: int, unit: float) -> float:
    """In a crowd the text shrinks with the faces, so that labels do not hide the neighbours."""
    if count <= CROWD:
        return TEXT_PX * unit
    return min(TEXT_PX * unit, max((box.x1 - box.x0) / 3.2, CROWD_TEXT_PX * unit))


@lru_cache(maxsize=32)
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)  # Pillow's own font: the same on every system


def _extent(text: str, size: float) -> tuple[float, float]:
    """Width and height of a label with its margins."""
    left, top, right, bottom = _font(size).getbbox(text)
    pad = 0.32 * (bottom - top)
    return right - left + 2.4 * pad, bottom - top + 2 * pad


def _place(
    extent: tuple[float, float],
    box: Box,
    photo_size: tuple[int, int],
    occupied: np.ndarray,
    boxes: np.ndarray,
) -> tuple[Box, float]:
    """The first free place among: above, below, inside at the top, at its sides; where none is free, the least harmful.

    Another label (`occupied`, Lx4) is worse to cover than a face (`boxes`, Fx4): a covered number cannot be read.

    Returns:
        The place, and the harm that it does: what it covers, in pixels, labels counted four times.
    """
    width, height = extent
    x0, y0, x1, y1 = box
    middle = (x0 + x1 - width) / 2
    corners = [
        (x0, y0 - height),
        (x0, y1),
        (x1 - width, y0 - height),
        (x1 - width, y1),
        (middle, y0 - height),
        (middle, y1),
        (x0, y0),
        (x1, y0),
        (x0 - width, y0),
    ]
    places = []
    for x, y in corners:
        x = min(max(x, 0.0), max(photo_size[0] - width, 0.0))
        y = min(max(y, 0.0), max(photo_size[1] - height, 0.0))
        places.append(Box(x, y, x + width, y + height))

    harms = 4 * _covered(places, occupied) + _covered(places, boxes)
    harms = np.round(harms, 3)  # what touches a box covers nothing, whatever the last digits say
    least = int(np.argmin(harms))
    return places[least], float(harms[least])


def _draw_label(draw: ImageDraw.ImageDraw, label: Label, fill: tuple[int, int, int]) -> None:
    x0, y0, x1, y1 = label.place
    draw.rounded_rectangle(label.place, radius=0.25 * (y1 - y0), fill=fill, outline=INK, width=1)
    draw.text(((x0 + x1) / 2, (y0 + y1) / 2), label.text, font=_font(label.size), fill=INK, anchor="mm")


def _covered(places: Sequence[Box], boxes: np.ndarray) -> np.ndarray:
    """How much each place covers of the boxes (Bx4) together, in pixels. All at once: a crowd asks it of each of its
    faces, and again at every click."""
    x0, y0, x1, y1 = np.array(places).T[:, :, None]
    left, top, right, bottom = boxes.T
    width = np.minimum(x1, right) - np.maximum(x0, left)
    height = np.minimum(y1, bottom) - np.maximum(y0, top)
    covered: np.ndarray = (width.clip(min=0) * height.clip(min=0)).sum(axis=1)
    return covered
