"""A face as nodes: the cells of a trunk's grid, from which LRA-GNN and MCGRL build their graphs (METHOD 15, 16)."""

from abc import abstractmethod
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import timm
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.model.base import AgeModel, Description
from cilf.model.head import AgeEstimate, LinearHead, NormalHead

STRIDE = (
    16  # pixels of the input a side of a cell: 8×8 cells at 128 px, where 4×4 would be too few for a graph
)

# Where 68 key points (17 of the face's outline, 10 of the brows, 9 of the nose, 12 of the eyes, 20 of the mouth) lie in
# an aligned crop, in fractions of its side: MediaPipe's mesh on the two portraits of the tests and their mirror images,
# averaged (`tests/model/test_nodes.py` measures them again).
KEY_POINTS = (
    *((0.09, 0.22), (0.08, 0.38), (0.09, 0.47), (0.12, 0.65), (0.15, 0.73), (0.19, 0.79), (0.29, 0.89)),
    *((0.41, 0.95), (0.50, 0.96), (0.59, 0.95), (0.71, 0.89), (0.81, 0.79), (0.85, 0.73), (0.88, 0.65)),
    *((0.91, 0.47), (0.92, 0.38), (0.91, 0.22), (0.13, 0.18), (0.19, 0.17), (0.24, 0.15), (0.32, 0.16)),
    *((0.41, 0.17), (0.59, 0.17), (0.68, 0.16), (0.76, 0.15), (0.81, 0.17), (0.87, 0.18), (0.50, 0.27)),
    *((0.50, 0.36), (0.50, 0.44), (0.50, 0.50), (0.41, 0.53), (0.45, 0.56), (0.50, 0.56), (0.55, 0.56)),
    *((0.59, 0.53), (0.22, 0.28), (0.26, 0.26), (0.33, 0.25), (0.40, 0.29), (0.34, 0.30), (0.27, 0.30)),
    *((0.60, 0.29), (0.67, 0.25), (0.74, 0.26), (0.78, 0.28), (0.73, 0.30), (0.66, 0.30), (0.32, 0.66)),
    *((0.40, 0.64), (0.45, 0.64), (0.50, 0.65), (0.55, 0.64), (0.60, 0.64), (0.68, 0.66), (0.60, 0.74)),
    *((0.55, 0.75), (0.50, 0.76), (0.45, 0.75), (0.40, 0.74), (0.34, 0.66), (0.45, 0.67), (0.50, 0.68)),
    *((0.55, 0.67), (0.66, 0.66), (0.55, 0.70), (0.50, 0.71), (0.45, 0.70)),
)


@cache
def key_point_cells(side: int) -> Bool[np.ndarray, " node"]:
    """Which cells of a grid of side × side, in raster order, hold a key point or the mirror image of one: crops are
    aligned, so that the template serves every face, and a mirrored face has the same nodes."""
    column, row = np.clip((np.array(KEY_POINTS) * side).astype(int), 0, side - 1).T
    cells = np.zeros((side, side), dtype=bool)
    cells[row, column] = True
    return (cells | cells[:, ::-1]).reshape(-1)


class GridTrunk(nn.Module):
    """Crops → the trunk's grid at stride 16, beside it the grid at stride 32, each of whose cells is repeated 2×2.

    The second grid is there because CILF's image embedding reads the last stage, too. With `stem` channels a second,
    small network of strided convolutions gives as many channels more, from the pixels alone.
    """

    trunk: Any  # timm has no type information
    mean: Tensor
    std: Tensor

    def __init__(self, config: Any, stem: int = 0) -> None:
        super().__init__()
        self.trunk = timm.create_model(
            config.trunk, features_only=True, out_indices=(3, 4), drop_path_rate=config.drop_path
        )
        self.stem = _stem(stem) if stem else None
        self.channels = sum(self.trunk.feature_info.channels())
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)

    def forward(
        self, pixels: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch channel rows columns"]:
        """Compute the grids of RGB crops with values in [0, 1]."""
        pixels = (pixels - self.mean) / self.std
        grid = laid_over(*self.trunk(pixels))
        return grid if self.stem is None else torch.cat([grid, self.stem(pixels)], dim=1)


def laid_over(
    fine: Float[Tensor, "batch fine rows columns"],
    coarse: Float[Tensor, "batch coarse half_rows half_columns"],
) -> Float[Tensor, "batch channel rows columns"]:
    """Two grids of the same picture in one: each cell of the coarse one beside the fine ones that it covers."""
    return torch.cat([fine, F.interpolate(coarse, size=fine.shape[-2:], mode="nearest")], dim=1)


def _stem(width: int) -> nn.Sequential:
    """ViG's stem: four convolutions of stride 2 and one of stride 1 (Han et al., NeurIPS 2022)."""
    widths = [3, width // 8, width // 4, width // 2, width]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))


def as_nodes(grid: Float[Tensor, "batch channel rows columns"]) -> Float[Tensor, "batch node channel"]:
    """The cells of a grid, row by row."""
    return grid.flatten(2).transpose(1, 2)


class GridNodes(nn.Module):
    """Cells of a grid → nodes of a smaller width, which know their positions.

    Positions are learned for the grid of `side`² cells; for another grid, as in training on smaller pictures, they are
    interpolated.
    """

    def __init__(self, channels: int, width: int, side: int) -> None:
        super().__init__()
        self.project = nn.Linear(channels, width)
        self.position_embedding = nn.Parameter(0.02 * torch.randn(width, side, side))

    def forward(
        self, cells: Float[Tensor, "batch cell channel"], chosen: Int[Tensor, " node"]
    ) -> Float[Tensor, "batch node width"]:
        """The chosen cells, projected, with their positions added."""
        return self.project(cells[:, chosen]) + self.positions(round(cells.shape[1] ** 0.5))[chosen]

    def positions(self, side: int) -> Float[Tensor, "node width"]:
        """The positions of a grid of side × side."""
        position: Tensor = self.position_embedding
        if side != position.shape[1]:
            position = F.interpolate(position[None], size=(side, side), mode="bilinear")[0]
        return position.flatten(1).T


@dataclass(frozen=True)
class Reading:
    """What a network reads from the cells of B crops.

    Attributes:
        embedding: (B, D) features of the face, of any length.
        estimate: of the age, at the head's temperature.
        relevance: (B, N), how much each node counts.
    """

    embedding: Float[Tensor, "batch embed"]
    estimate: AgeEstimate
    relevance: Float[Tensor, "batch node"]


class GridModel(AgeModel):
    """Grid of a trunk → graph → age: what LRA-GNN and MCGRL share. Neither has prompts.

    `read` takes the cells of a grid, so that a head can be fitted on what a frozen trunk has said once.
    """

    head: LinearHead | NormalHead
    no_prompts: Tensor

    def __init__(self, config: Any, embed_dim: int, stem: int = 0) -> None:
        super().__init__()
        self.config = config
        self.grid = GridTrunk(config, stem)
        self.register_buffer("no_prompts", torch.empty(0, embed_dim), persistent=False)

    @property
    def image_size(self) -> int:
        """Side of the square crops in pixels."""
        return int(self.config.image_size)

    @property
    def embed_dim(self) -> int:
        """Width of the features that are pooled over the nodes."""
        return int(self.no_prompts.shape[1])

    @property
    def image_network(self) -> nn.Module:
        """The trunk's grid."""
        return self.grid

    def encode_ages(self) -> Float[Tensor, "age embed"]:
        """Give no rows: it has no prompts."""
        return self.no_prompts

    def cells(self, pixels: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch node channel"]:
        """Encode RGB crops with values in [0, 1] as the cells of the trunk's grid, row by row."""
        return as_nodes(self.grid(pixels))

    @abstractmethod
    def read(self, cells: Float[Tensor, "batch node channel"]) -> Reading:
        """The age from the cells of a grid, as it is estimated after training."""

    def describe(
        self,
        pixels: Float[Tensor, "batch 3 height width"],
        age_text: Float[Tensor, "age embed"],
        *,
        mirror: bool,
    ) -> Description:
        """See `AgeModel.describe`."""
        views = (False, True) if mirror else (False,)
        cells = self.cells(torch.cat([pixels.flip(-1) if flipped else pixels for flipped in views]))
        reading = self.read(cells)
        side = round(cells.shape[1] ** 0.5)
        maps = reading.relevance.float().unflatten(1, (side, side)).unflatten(0, (len(views), -1))
        estimate = self.head.averaged(reading.estimate, len(views))
        return Description(
            F.normalize(reading.embedding.float().unflatten(0, (len(views), -1)).sum(dim=0), dim=-1),
            estimate,
            estimate.logits.unsqueeze(1),
            torch.stack(
                [maps[at].flip(-1) if flipped else maps[at] for at, flipped in enumerate(views)]
            ).mean(dim=0),
        )
