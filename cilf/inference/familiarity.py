"""Is a picture like the photos that the estimates were calibrated on? If not, no promise holds for it.

A picture is unlike them when its embedding lies further from its nearest neighbours among them than nearly all of their
kind do from theirs (Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022).
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from cilf.inference.predictive import softmax
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


@dataclass(frozen=True)
class Familiarity:
    """Reference embeddings of unit length, (N, D), and the distance of others from them."""

    config: FamiliarityConfig = FamiliarityConfig()
    reference: Float[np.ndarray, "photo embed"] = field(default_factory=lambda: np.zeros((0, 0), np.float32))

    def distance(self, embedding: Float[np.ndarray, "batch embed"]) -> Float[np.ndarray, " batch"]:
        """Mean cosine distance from the nearest reference embeddings; 0 where there are none."""
        if not len(self.reference):
            return np.zeros(len(embedding), embedding.dtype)
        # By `einsum`: where other work is running, the threads of BLAS would wait for each other for milliseconds.
        cosines = np.einsum("bd,nd->bn", normalized(embedding), self.reference)
        count = min(self.config.neighbours, len(self.reference))
        return 1 - np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1)

    def __call__(self, embedding: Float[np.ndarray, "batch embed"]) -> Bool[np.ndarray, " batch"]:
        """Which embeddings are like the reference's."""
        return self.distance(embedding) <= self.config.limit


def normalized(vectors: Float[np.ndarray, "*rows embed"]) -> Float[np.ndarray, "*rows embed"]:
    """The vectors at unit length; a vector of length 0 stays."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)


def flattened(
    probabilities: Float[np.ndarray, "batch age"], flatter: float
) -> Float[np.ndarray, "batch age"]:
    """The distributions at a temperature: above 1 flatter."""
    return softmax(np.log(probabilities.clip(1e-12)) / np.float32(flatter))
