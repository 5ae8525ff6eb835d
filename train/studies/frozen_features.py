"""What a frozen image tower gives for some photos, kept in memory: fitting what comes after it is then cheap."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from tqdm import tqdm

from cilf.model.cilf import CILF
from train.data.batches import plain_batches
from train.data.crop_cache import Subset
from train.data.datasets import DatasetError, Sample
from train.files import written_whole
from train.fit.precision import autocast
from train.fit.provenance import weights_sha256


@dataclass(frozen=True)
class Features:
    """Of N photos and their mirror images (axis 0 of the tensors; 0 = as they are).

    Attributes:
        image: (2, N, D) global embeddings.
        grid: (2, N, C, H, W) the tower's grid before its projection, half precision.
        samples: N labels.
        groups: of near-duplicates, one of each photo.
    """

    image: Float[Tensor, "view photo embed"]
    grid: Float[Tensor, "view photo channel rows columns"]
    samples: list[Sample]
    groups: list[str]

    @property
    def truth(self) -> np.ndarray:
        """(N,) true ages in years."""
        return np.array([float(sample.age) for sample in self.samples])

    def batch(
        self, view: Int[Tensor, " row"], photo: Int[Tensor, " row"]
    ) -> tuple[Float[Tensor, "row embed"], Float[Tensor, "row channel rows columns"]]:
        """Global embeddings and grids of some views."""
        return self.image[view, photo], self.grid[view, photo].float()


def extract(
    model: CILF, subsets: list[Subset], stored: Path, groups: Mapping[str, str], batch_size: int = 64
) -> Features:
    """Run the image tower over the subsets' crops, one subset after another; or read what an earlier call stored.

    Raises DatasetError as `outputs`.
    """
    towers = model.towers
    image, grid = outputs(towers, towers.encode_raw, towers.config.image_size, subsets, stored, batch_size)
    samples = photos(subsets)
    return Features(image, grid, samples, [groups.get(sample.name, sample.name) for sample in samples])


def photos(subsets: list[Subset]) -> list[Sample]:
    """The labelled photos of the subsets, one subset after another."""
    return [sample for subset in subsets for sample in subset.samples]


Encode = Callable[[Tensor], tuple[Tensor, Tensor]]


def outputs(
    network: nn.Module,
    encode: Encode,
    size: int,
    subsets: list[Subset],
    stored: Path,
    batch_size: int = 64,
) -> tuple[Tensor, Tensor]:
    """(2, N, …) what `encode`, a part of a network, gives for crops of `size` pixels and their mirror images; read from
    `stored` where an earlier call has stored it. Grids in half precision.

    Raises DatasetError when that is of other photos or of another network.
    """
    of = [*(subset.fingerprint() for subset in subsets), weights_sha256(network.state_dict())]
    if not stored.is_file():
        network.eval()
        values = (*of, *_run(encode, size, subsets, batch_size))
        with written_whole(stored) as partial:
            torch.save(values, partial)
    *stored_of, first, second = torch.load(stored, weights_only=True)
    if stored_of != of:
        raise DatasetError(
            f"The features in {stored} are of other photos, other labels or another image tower; give another "
            "folder, or the same data and tower."
        )
    return first, second


@torch.inference_mode()
def _run(encode: Encode, size: int, subsets: list[Subset], batch_size: int) -> tuple[Tensor, ...]:
    parts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for subset in subsets:
        batches = plain_batches(subset, size, batch_size=batch_size)
        for pixels in tqdm(batches, desc="features", unit="batch"):
            both = torch.cat([pixels, pixels.flip(-1)]).to(memory_format=torch.channels_last)
            with autocast(torch.device("cpu")):
                pair = encode(both)
            for part, value in zip(parts, pair, strict=True):
                part.append((value.half() if value.ndim == 4 else value.float()).unflatten(0, (2, -1)))
    return tuple(torch.cat(part, dim=1).clone() for part in parts)
