"""The interface of a network, of whichever family (`cilf.model.cilf`, `cilf.model.mtmsa`), and what it returns."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from cilf.model.head import AgeEstimate, Head


@dataclass(frozen=True)
class Description:
    """What inference keeps of a batch of B crops.

    Attributes:
        embedding: (B, D) image embedding, unit length.
        estimate: the age head's distribution and its moments.
        parts: (B, P, K) logits of what P parts of the network say by themselves, tempered as the estimate is; how far
            their ages lie apart is an error that needs no label. CILF: image tower alone, the fusion's shares alone.
            A network without such parts repeats its estimate.
        relevance: (B, H, W), how much each grid cell counts for the estimate; only differences within a face matter.
    """

    embedding: Float[Tensor, "batch embed"]
    estimate: AgeEstimate
    parts: Float[Tensor, "batch part age"]
    relevance: Float[Tensor, "batch rows columns"]


class AgeModel(nn.Module, ABC):
    """Crops → ages. The error model and the interval are no part of it: they are fitted afterwards, on other photos."""

    head: Head

    @property
    @abstractmethod
    def image_size(self) -> int:
        """Side of the square crops in pixels."""

    @property
    @abstractmethod
    def embed_dim(self) -> int:
        """Width D of the image embedding."""

    @property
    @abstractmethod
    def image_network(self) -> nn.Module:
        """The part that sees pixels, whose filters lie in memory as the crops do; its backbone is named `trunk`."""

    @abstractmethod
    def encode_ages(self) -> Float[Tensor, "age embed"]:
        """Encode the age prompts to unit length, once, not per photo; without prompts there are no rows."""

    @abstractmethod
    def describe(
        self,
        pixels: Float[Tensor, "batch 3 height width"],
        age_text: Float[Tensor, "age embed"],
        *,
        mirror: bool,
    ) -> Description:
        """Estimate ages from RGB crops with values in [0, 1]; `age_text` is from `encode_ages`. With `mirror` the crop
        and its mirror image are both encoded and averaged, at about twice the cost."""
