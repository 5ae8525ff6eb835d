"""Contact sheets of what is measured for captions, so that a person can check it.

The photos are drawn and augmented as in training, since captions describe what the model sees. What was counted on such
sheets stands in `attribute_errors.toml`.
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor
from torchvision.utils import save_image

from train.data.attributes import ATTRIBUTES, COLUMN, visible
from train.data.batches import Batch
from train.data.photo_attributes import photo_attributes

SIGNS = {"yes": 1, "no": -1}  # clearly there, clearly not
COLUMNS = 10  # photos in a row of a sheet
ERRORS = Path(__file__).with_name("attribute_errors.toml")


def contact_sheets(batches: Iterable[Batch], folder: Path, photos: int) -> dict[str, int]:
    """Draw `ATTRIBUTE-yes.png` and `ATTRIBUTE-no.png` into `folder` for each attribute.

    Args:
        batches: augmented, with what the face mesh measured; read until every sheet is full.
        folder: is made where it is missing.
        photos: on a sheet, at most.

    Returns:
        Name of each sheet → photos on it. One without a photo is not drawn: closed eyes are never measured.
    """
    sheets: dict[str, list[Tensor]] = {f"{name}-{sign}": [] for name in ATTRIBUTES for sign in SIGNS}
    for batch in batches:
        if batch.mesh is None or batch.flipped is None:
            raise ValueError("batches need a mesh, and must know which photos are mirrored")
        table = visible(photo_attributes(batch.pixels), batch.mesh, batch.flipped, batch.covered)
        for name, column in COLUMN.items():
            for sign, value in SIGNS.items():
                sheet = sheets[f"{name}-{sign}"]
                rows = (table[:, column] == value).nonzero().flatten()[: photos - len(sheet)]
                sheet += batch.pixels[rows].unbind()
        if all(len(sheet) == photos for sheet in sheets.values()):
            break
    folder.mkdir(parents=True, exist_ok=True)
    for name, sheet in sheets.items():
        if sheet:
            save_image(torch.stack(sheet), folder / f"{name}.png", nrow=COLUMNS, padding=2)
    return {name: len(sheet) for name, sheet in sheets.items()}


def counted_by_eye() -> dict[str, tuple[int, int]]:
    """Attribute → photos that were looked through, and how many of them were clearly measured wrongly."""
    counts = tomllib.loads(ERRORS.read_text(encoding="utf-8"))
    sums = {
        name: [sum(each) for each in zip(*sheets.values(), strict=True)] for name, sheets in counts.items()
    }
    return {name: (shown, wrong) for name, (shown, wrong, _) in sums.items()}
