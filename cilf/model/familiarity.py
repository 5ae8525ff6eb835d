"""Is a picture like the photos that the estimates were calibrated on? If not, no promise holds for it.

A picture is unlike them when its embedding lies further from its nearest neighbours among them than nearly all of their
kind do from theirs (Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.untrusted.bounds import Count, Factor, Rows, Years


@dataclass(frozen=True)
class FamiliarityConfig:
    """How distance is measured and judged.

    Attributes:
        photos, embed_dim: rows and width of the reference embeddings; without rows every picture passes.
        neighbours: how many of the nearest count.
        limit: mean cosine distance from them, in [0, 2], above which a picture is unlike the calibration photos.
        flatter: temperature by which such a picture's distribution is made flatter, so that its interval is wider.
    """

    photos: Rows = 0
    embed_dim: Rows = 0
    neighbours: Count = 5
    limit: Years = 2.0
    flatter: Factor = 4.0


class Familiarity(nn.Module):
    """Reference embeddings of unit length, and the distance of others from them."""

    reference: Tensor

    def __init__(self, config: FamiliarityConfig | None = None) -> None:
        super().__init__()
        self.config = config or FamiliarityConfig()
        self.register_buffer("reference", torch.zeros(self.config.photos, self.config.embed_dim))

    def distance(self, embedding: Float[Tensor, "batch embed"]) -> Float[Tensor, " batch"]:
        """Mean cosine distance from the nearest reference embeddings; 0 where there are none."""
        if not len(self.reference):
            return torch.zeros(len(embedding), device=embedding.device)
        cosines = F.normalize(embedding, dim=1) @ self.reference.T
        nearest = cosines.topk(min(self.config.neighbours, len(self.reference)), dim=1).values
        return 1 - nearest.mean(dim=1)

    def forward(self, embedding: Float[Tensor, "batch embed"]) -> Bool[Tensor, " batch"]:
        """Which embeddings are like the reference's."""
        return self.distance(embedding) <= self.config.limit


def flattened(probabilities: Float[Tensor, "batch age"], flatter: float) -> Float[Tensor, "batch age"]:
    """The distributions at a temperature: above 1 flatter."""
    return (probabilities.clamp(min=1e-12).log() / flatter).softmax(dim=1)
