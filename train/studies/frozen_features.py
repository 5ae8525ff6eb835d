"""What a frozen image tower gives for some photos, kept in memory: fitting what comes after it is then cheap."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from cilf.model.cilf import CILF
from train.data.augmentation.augment import plain
from train.data.crop_cache import Subset
from train.data.datasets import DatasetError, Sample
from train.fit.precision import autocast
from train.fit.provenance import weights_sha256


@dataclass(frozen=True)
class Features:
    """Of N photos and their mirror images (axis 0 of the tensors; 0 = as they are).

    Attributes:
        image: (2, N, D) global embeddings.
        grid: (2, N, C, H, W) the tower's grid before its projection, half precision.
        samples: N labels.
    """

    image: Float[Tensor, "view photo embed"]
    grid: Float[Tensor, "view photo channel rows columns"]
    samples: list[Sample]

    @property
    def truth(self) -> np.ndarray:
        """(N,) true ages in years."""
        return np.array([float(sample.age) for sample in self.samples])

    def batch(
        self, view: Int[Tensor, " row"], photo: Int[Tensor, " row"]
    ) -> tuple[Float[Tensor, "row embed"], Float[Tensor, "row channel rows columns"]]:
        """Global embeddings and grids of some views."""
        return self.image[view, photo], self.grid[view, photo].float()


def extract(model: CILF, subsets: list[Subset], stored: Path, batch_size: int = 64) -> Features:
    """Run the image tower over the subsets' crops, one subset after another; or read what an earlier call stored.

    Raises DatasetError when that is of other photos or of another tower.
    """
    samples = [subset.cache.samples[row] for subset in subsets for row in subset.rows]
    of = [*(subset.fingerprint() for subset in subsets), weights_sha256(model.towers.state_dict())]
    if not stored.is_file():
        torch.save((*of, *_run(model, subsets, batch_size)), stored)
    *stored_of, image, grid = torch.load(stored, weights_only=True)
    if stored_of != of:
        raise DatasetError(
            f"The features in {stored} are of other photos, other labels or another image tower; give another "
            "folder, or the same data and tower."
        )
    return Features(image, grid, samples)


@torch.inference_mode()
def _run(model: CILF, subsets: list[Subset], batch_size: int) -> tuple[Tensor, Tensor]:
    """`image` and `grid` of `Features`."""
    model.eval()
    size = model.towers.config.image_size
    images, grids = [], []
    rows = [(subset, row) for subset in subsets for row in subset.rows]
    for start in tqdm(range(0, len(rows), batch_size), desc="features", unit="batch"):
        chunk = rows[start : start + batch_size]
        crops = torch.from_numpy(np.stack([subset.cache.crops[row] for subset, row in chunk]))
        pixels = plain(crops, size, subsets[0].cache.margin)
        both = torch.cat([pixels, pixels.flip(-1)]).to(memory_format=torch.channels_last)
        with autocast(torch.device("cpu")):
            image, grid = model.towers.encode_raw(both)
        images.append(image.float().unflatten(0, (2, -1)))
        grids.append(grid.half().unflatten(0, (2, -1)))
    return torch.cat(images, dim=1).clone(), torch.cat(grids, dim=1).clone()
