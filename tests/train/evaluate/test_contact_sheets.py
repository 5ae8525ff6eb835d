"""Contact sheets: photos of which an attribute is clearly measured, and what was counted on them by eye."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from train.data.attributes import ATTRIBUTES, MESH
from train.data.batches import Batch
from train.data.datasets import Sample
from train.evaluate.contact_sheets import contact_sheets, counted_by_eye

SIDE = 32


def batch(levels: list[float], mesh: torch.Tensor | None) -> Batch:
    """Grey pictures of these levels."""
    pixels = torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 3, SIDE, SIDE)
    samples = [Sample(Path(), f"{number}", 30.0, None, None, "") for number in range(len(levels))]
    flipped = torch.zeros(len(levels), dtype=torch.bool)
    return Batch(0, pixels, samples, torch.arange(len(levels)).numpy(), mesh=mesh, flipped=flipped)


def test_a_sheet_shows_photos_on_one_side_of_a_rule(tmp_path: Path) -> None:
    levels = [0.1, 0.5, 0.9, 0.15, 0.2]
    mesh = torch.zeros(5, len(MESH), dtype=torch.int8)
    mesh[:, MESH.index("smiling")] = torch.tensor([1, 0, 0, -1, -1])
    counts = contact_sheets([batch(levels, mesh)], tmp_path, photos=2)
    assert counts["dark-yes"] == 2  # of three
    assert counts["bright-yes"] == 1
    assert (counts["smiling-yes"], counts["smiling-no"]) == (1, 2)
    assert counts["looking_up-yes"] == 0
    assert not (tmp_path / "looking_up-yes.png").exists()
    with Image.open(tmp_path / "bright-yes.png") as sheet:
        assert abs(sheet.getpixel((SIDE // 2, SIDE // 2))[0] - 0.9 * 255) <= 1


def test_without_a_mesh_there_is_nothing_to_check(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batches need a mesh"):
        contact_sheets([batch([0.5], None)], tmp_path, photos=1)


@pytest.mark.parametrize("attribute", ATTRIBUTES)
def test_what_is_taught_is_measured_rightly_by_eye(attribute: str) -> None:
    shown, wrong = counted_by_eye()[attribute]
    assert shown >= 100
    assert wrong / shown <= 0.15
