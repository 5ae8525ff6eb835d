"""Pictures that the page shows: the photo with its faces boxed and labelled, and the heat map laid over a face."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cilf.prediction import FacePrediction

Box = tuple[float, float, float, float]

# Okabe and Ito's colours stay apart in every common colour blindness; each also differs here in thickness and number.
CHOSEN = (240, 168, 48)
OTHER = (86, 180, 233)
INK = (13, 24, 34)

# The photo is shown about this wide; text and lines are scaled so that they come out readable then.
SHOWN_WIDTH = 620
TEXT_PX = 17
SMALLEST_TEXT_PX = 10
LINE_PX = 2.2

# Dark blue over grey to yellow in even steps of lightness, which every colour blindness leaves in order.
HEAT_COLOURS = np.array(
    [[8, 29, 71], [58, 72, 108], [114, 116, 120], [176, 160, 105], [246, 214, 70]], dtype=float
)
HEAT_COVER = 0.62


def annotate(photo: np.ndarray, faces: Sequence[FacePrediction], chosen: int | None = 0) -> np.ndarray:
    """Draw every face's box with its number and age onto a copy of the photo, at the photo's full size.

    Args:
        photo: HxWx3 uint8 RGB, upright.
        faces: what was found in it, in the order of their numbers (the first is number 1).
        chosen: index of the face to stress, or None.

    Returns:
        HxWx3 uint8 RGB.
    """
    image = Image.fromarray(photo)
    draw = ImageDraw.Draw(image)
    height, width = photo.shape[:2]
    unit = max(width, height) / SHOWN_WIDTH
    order = sorted(range(len(faces)), key=lambda index: index == chosen)  # the chosen one on top
    for index in order:
        _draw_box(draw, faces[index].box, index == chosen, unit)
    boxes = [face.box for face in faces]
    taken: list[Box] = []
    for index in reversed(order):
        font = _label_font(faces[index].box, len(faces), unit)
        text = label(index, faces[index])
        place = _place_label(draw, text, font, boxes[index], (width, height), taken, boxes)
        taken.append(place)
        _draw_label(draw, text, font, place, CHOSEN if index == chosen else OTHER)
    return np.asarray(image)


def label(index: int, face: FacePrediction) -> str:
    """What stands on a face's box: its number and its age in whole years."""
    return f"{index + 1} · {face.age:.0f}"


def face_at(faces: Sequence[FacePrediction], x: float, y: float) -> int | None:
    """Index of the face whose box holds the point (pixels of the photo), of several the smallest; else None."""
    holding = [
        index
        for index, face in enumerate(faces)
        if face.box[0] <= x <= face.box[2] and face.box[1] <= y <= face.box[3]
    ]
    return min(holding, key=lambda index: _area(faces[index].box), default=None)


def overlay_heat(crop: np.ndarray, heatmap: np.ndarray, size: int = 448) -> np.ndarray:
    """Lay the heat map over the face: blue where it is 0, yellow where it is 1, the face in grey beneath.

    Args:
        crop: SxSx3 uint8 RGB.
        heatmap: HxW, values in [0, 1].
        size: side of the result in pixels.

    Returns:
        size x size x 3 uint8 RGB.
    """
    face = Image.fromarray(crop).resize((size, size), Image.Resampling.LANCZOS).convert("L")
    grey = np.asarray(face, dtype=float)[:, :, None]
    cells = Image.fromarray(np.clip(heatmap, 0, 1).astype(np.float32))
    heat = np.clip(np.asarray(cells.resize((size, size), Image.Resampling.BICUBIC)), 0, 1)
    anchors = np.linspace(0, 1, len(HEAT_COLOURS))
    colour = np.stack([np.interp(heat, anchors, HEAT_COLOURS[:, channel]) for channel in range(3)], axis=-1)
    return np.round((1 - HEAT_COVER) * grey + HEAT_COVER * colour).astype(np.uint8)


def _draw_box(draw: ImageDraw.ImageDraw, box: Box, chosen: bool, unit: float) -> None:
    line = max(1, round(LINE_PX * unit * (1.7 if chosen else 1)))
    casing = max(1, round(unit))  # a dark edge on both sides keeps the line visible on a pale photo
    radius = max(2, round(6 * unit))
    draw.rounded_rectangle(_grown(box, float(casing)), radius, outline=INK, width=line + 2 * casing)
    draw.rounded_rectangle(box, radius, outline=CHOSEN if chosen else OTHER, width=line)


def _label_font(box: Box, count: int, unit: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """In a crowd the text shrinks with the faces, so that labels do not hide the neighbours."""
    size = TEXT_PX * unit
    if count > 3:
        size = min(size, max((box[2] - box[0]) / 3.2, SMALLEST_TEXT_PX * unit))
    return ImageFont.load_default(size=max(8.0, size))  # Pillow's own font: the same on every system


def _place_label(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    box: Box,
    photo_size: tuple[int, int],
    taken: Sequence[Box],
    boxes: Sequence[Box],
) -> Box:
    """The first free place among: above, below, inside at the top, beside; where none is free, the least harmful.

    Another label (`taken`) is worse to cover than a face (`boxes`): a covered number cannot be read at all.
    """
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    pad = 0.32 * (bottom - top)
    width, height = right - left + 2.4 * pad, bottom - top + 2 * pad
    x0, y0, x1, y1 = box
    corners = [
        (x0, y0 - height),
        (x0, y1),
        (x1 - width, y0 - height),
        (x1 - width, y1),
        (x0, y0),
        (x1, y0),
        (x0 - width, y0),
    ]
    places = []
    for x, y in corners:
        x = min(max(x, 0.0), max(photo_size[0] - width, 0.0))
        y = min(max(y, 0.0), max(photo_size[1] - height, 0.0))
        places.append((x, y, x + width, y + height))

    def harm(place: Box) -> float:
        return 4 * sum(_shared(place, label) for label in taken) + sum(_shared(place, face) for face in boxes)

    return min(places, key=harm)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    text: str,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    place: Box,
    fill: tuple[int, int, int],
) -> None:
    draw.rounded_rectangle(place, radius=0.25 * (place[3] - place[1]), fill=fill, outline=INK, width=1)
    middle = ((place[0] + place[2]) / 2, (place[1] + place[3]) / 2)
    draw.text(middle, text, font=font, fill=INK, anchor="mm")


def _grown(box: Box, by: float) -> Box:
    return (box[0] - by, box[1] - by, box[2] + by, box[3] + by)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shared(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0.0) * max(height, 0.0)
