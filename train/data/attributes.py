"""Attributes of a face photo that are measured without labels, and their joint table.

Each entry of a table is +1 (clearly yes), -1 (clearly no) or 0 (unclear, hidden or unmeasured). "Left" and "right" are
those of the picture as the viewer sees it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int8
from torch import Tensor

# Measured on the augmented crop (`train.data.photo_attributes`).
PIXEL = (
    "black_and_white", "warm", "cold", "vivid", "faded", "dark", "bright", "strong_contrast", "low_contrast",
    "blurry", "sharp", "low_resolution", "grainy", "lit_from_left", "lit_from_right",
)  # fmt: skip

# Measured once per photo (`train.data.face_mesh`).
MESH = (
    "smiling", "mouth_open", "mouth_wide_open", "eyes_open", "turned_left", "turned_right",
    "looking_up", "looking_down",
)  # fmt: skip

ATTRIBUTES = PIXEL + MESH
COLUMN = {name: column for column, name in enumerate(ATTRIBUTES)}

# Pairs that a horizontal flip exchanges. Light is measured after the flip.
MIRRORED = (("turned_left", "turned_right"),)

# Need a face of which nothing is covered.
COVERABLE = (*MESH, "warm", "cold", "lit_from_left", "lit_from_right")


@dataclass(frozen=True)
class Rule:
    """Three-valued threshold: `measure` beyond `yes` holds clearly, beyond `no` on the other side clearly not."""

    measure: str
    yes: float
    no: float

    def decide(self, value: Float[Tensor, " photo"]) -> Int8[Tensor, " photo"]:
        """+1 clearly yes, -1 clearly no, 0 between the thresholds or not a number."""
        sign = 1 if self.yes > self.no else -1
        yes, no = sign * value > sign * self.yes, sign * value < sign * self.no
        return yes.to(torch.int8) - no.to(torch.int8)


def visible(
    pixel: Int8[Tensor, "photo pixel_attribute"],
    mesh: Int8[Tensor, "photo mesh_attribute"],
    flipped: Bool[Tensor, " photo"],
    covered: Bool[Tensor, " photo"] | None = None,
) -> Int8[Tensor, "photo attribute"]:
    """Join both measurements into one table in the order of `ATTRIBUTES`.

    Args:
        pixel: from the augmented crop.
        mesh: from the crop before augmentation.
        flipped: whether augmentation flipped the crop; left and right change places.
        covered: whether augmentation covered part of the crop; expression, pose, side light and its colour become
            unclear.
    """
    table = torch.cat([pixel, mesh.to(pixel.device)], dim=1)
    order = list(range(len(ATTRIBUTES)))
    for left, right in MIRRORED:
        order[COLUMN[left]], order[COLUMN[right]] = COLUMN[right], COLUMN[left]
    table = torch.where(flipped.to(table.device).unsqueeze(1), table[:, order], table)
    if covered is not None:
        columns = [COLUMN[name] for name in COVERABLE]
        keep = (~covered).to(table)
        table[:, columns] *= keep.unsqueeze(1)
    return table
