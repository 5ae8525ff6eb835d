"""Teachers: trained models from whose estimates another one learns, beside the labels.

A label says how old somebody is; a teacher says how old such a face looks, and how unsure that is, which is the softer
target: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network" (arXiv 1503.02531).
"""

import random
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from cilf.checkpoint import Checkpoint
from cilf.errors import UsageError
from cilf.model.base import AgeModel
from cilf.model.folding import fold_batch_norm
from train.data.crop_cache import Subset
from train.data.datasets import Sample
from train.files import written_whole

AT_ONCE = 128  # photos that are estimated together


class Teachers(nn.Module):
    """Copies of some checkpoints' models, which never learn again. Each sees the photos at its own size.

    Raises:
        UsageError: a teacher knows other ages than the model that it is to teach.
    """

    def __init__(self, checkpoints: Sequence[Checkpoint], num_ages: int) -> None:
        super().__init__()
        models: list[AgeModel] = [deepcopy(checkpoint.model) for checkpoint in checkpoints]
        self.models: Any = nn.ModuleList(models).requires_grad_(False)
        for number, model in enumerate(models):
            with torch.no_grad():
                text, size = model.encode_ages(), model.image_size
                known = model.describe(torch.zeros(1, 3, size, size), text, mirror=False)
            ages = known.estimate.logits.shape[1]
            if ages != num_ages:
                raise UsageError(
                    f"Teacher {number + 1} estimates {ages} ages, the recipe {num_ages}; give another as --teacher."
                )
            fold_batch_norm(model.to(memory_format=torch.channels_last))
            self.register_buffer(f"text_{number}", text, persistent=False)

    def train(self, mode: bool = True) -> "Teachers":
        """Stay in eval mode, whatever the model that learns does."""
        return super().train(False)

    @torch.no_grad()
    def forward(
        self, pixels: Float[Tensor, "batch 3 height width"], chance: random.Random
    ) -> Float[Tensor, "batch age"]:
        """One teacher's distributions over ages, of the photos or of their mirror images, both drawn again each time.

        The gradient of a divergence from a mean of distributions is the mean of the gradients, so over many steps this
        teaches the mean of all teachers and both views, at the cost of one.
        """
        number = chance.randrange(len(self.models))
        return self.estimate(number, pixels.flip(-1) if chance.random() < 0.5 else pixels)

    @torch.no_grad()
    def estimate(
        self, number: int, pixels: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch age"]:
        """Give the distributions over ages of one teacher, by its number."""
        size = self.models[number].image_size
        if pixels.shape[-1] != size:
            pixels = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        text = self.get_buffer(f"text_{number}")
        probabilities: Tensor = (
            self.models[number].describe(pixels, text, mirror=False).estimate.probabilities.float()
        )
        return probabilities


@dataclass(frozen=True)
class View:
    """One way to see a crop again.

    Attributes:
        mirrored: left and right exchanged.
        zoom: side of what is seen, in sides of what the model sees.
        shift: of the middle, in the same unit, right and down.
        coarse: at half resolution.
        brightness: factor.
    """

    mirrored: bool = False
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    coarse: bool = False
    brightness: float = 1.0

    def of(
        self, crops: UInt8[Tensor, "batch side side 3"], size: int, margin: int
    ) -> Float[Tensor, "batch 3 size size"]:
        """See crops with a margin so; pixels in [0, 1]."""
        images = crops.permute(0, 3, 1, 2).float() / 255
        side = images.shape[-1]
        inner = (side - 2 * margin) / side
        wide = size / inner / self.zoom
        if self.coarse:
            wide /= 2
        images = F.interpolate(images, (round(wide), round(wide)), mode="bilinear", antialias=True)
        across = inner * self.zoom
        x, y = (2 * inner * share for share in self.shift)
        theta = images.new_tensor([[-across if self.mirrored else across, 0, x], [0, across, y]])
        grid = F.affine_grid(
            theta.expand(len(images), 2, 3), [len(images), 3, size, size], align_corners=False
        )
        seen = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        return (seen * self.brightness).clamp(0, 1)


# Each further view changes several things at once, as the correction's views do.
VIEWS = (
    View(),
    View(mirrored=True, zoom=1.12, shift=(0.01, -0.01), brightness=0.8),
    View(zoom=1.12, shift=(-0.015, 0.01), brightness=1.2),
    View(mirrored=True, coarse=True),
)


class StoredEstimates:
    """Distributions over ages for every training photo: the mean of all teachers and `VIEWS`.

    What a network says of one view of a face is less steady, and less right, than the mean of what it says of several;
    a network that learns this mean from every augmented view gives it from a single one.

    Args:
        teachers: who estimate.
        train: the photos.
        size: side in pixels of the views.
        path: file in which the estimates are kept.
        key: what they are made of; a file with another one is replaced.
    """

    def __init__(self, teachers: Teachers, train: Sequence[Subset], size: int, path: Path, key: str) -> None:
        names = [_name(sample) for subset in train for sample in subset.samples]
        table = _stored(path, key)
        if table is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            table = np.concatenate([_estimates(teachers, subset, size) for subset in train])
            with written_whole(path) as partial, partial.open("wb") as file:
                np.savez(file, key=key, probabilities=table)
        self._rows = {name: row for row, name in enumerate(names)}
        self._table = torch.from_numpy(table).float()

    def of(self, samples: Sequence[Sample]) -> Float[Tensor, "batch age"]:
        """Give the distributions of photos, which sum to 1."""
        rows = self._table[[self._rows[_name(sample)] for sample in samples]]
        return rows / rows.sum(dim=1, keepdim=True)


def _stored(path: Path, key: str) -> Float16[np.ndarray, "photo age"] | None:
    if not path.is_file():
        return None
    with np.load(path) as stored:
        table: np.ndarray | None = stored["probabilities"] if stored["key"] == key else None
    return table


def _name(sample: Sample) -> str:
    return f"{sample.dataset}/{sample.name}"


def _estimates(teachers: Teachers, subset: Subset, size: int) -> Float16[np.ndarray, "photo age"]:
    device = teachers.get_buffer("text_0").device
    table = []
    for start in tqdm(range(0, len(subset.rows), AT_ONCE), desc="teachers", unit="batch"):
        crops = torch.from_numpy(subset.cache.crops[subset.rows[start : start + AT_ONCE]]).to(device)
        each = [
            teachers.estimate(number, view.of(crops, size, subset.cache.margin))
            for number in range(len(teachers.models))
            for view in VIEWS
        ]
        table.append(torch.stack(each).mean(dim=0).cpu().numpy().astype(np.float16))
    return np.concatenate(table)
