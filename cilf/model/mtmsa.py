"""MTMSA: the second system. A ResNet34 with dilated multi-scale attention, and heads for age, gender and race.

After Shi, Zhao, Zhang and Feng, "Multi-task age estimation with multi-scale attention" (IET Signal Processing 2023), of
which the abstract alone was at hand; METHOD 10 says what is theirs and what is our reading. It has no text tower, so no
prompts, and no error ensemble: its head is a Gaussian, whose width says by itself how far off the age may be. The heads
for gender and race are there to teach the shared features; nothing outside training asks them about a visitor's face.
"""

from dataclasses import dataclass
from typing import Any

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.model.base import AgeModel, Description
from cilf.model.config import MTMSAConfig
from cilf.model.head import NormalHead

DECADE = 10.0  # years; the Gaussian is learned in decades, where residuals are of about unit size (METHOD 10)
FIRST_AGE = 3.5  # decades, said by an untrained head: training need not begin by crossing half a life
WIDEST = 4.0  # |ln σ²| stays below, in decades: σ from 1.4 to 74 years


class MultiScaleAttention(nn.Module):
    """Parallel 3×3 convolutions of different dilation, side by side in the channels, then a gate for each channel,
    sigmoid(MLP(mean over cells)), and one for each cell, sigmoid(conv 7×7 of the channels' mean and maximum)."""

    def __init__(self, channels: int, config: MTMSAConfig) -> None:
        super().__init__()
        if config.width % len(config.dilations) or config.width < config.reduction:
            raise ValueError(
                f"{config.width} channels cannot be shared by {len(config.dilations)} branches and reduced "
                f"{config.reduction} times"
            )
        width, hidden = config.width, config.width // config.reduction
        self.branches = nn.ModuleList(
            _convolution(channels, width // len(config.dilations), 3, dilation)
            for dilation in config.dilations
        )
        self.merge = _convolution(width, width, 1)
        self.shortcut = _convolution(channels, width, 1)
        self.channel_gate = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.cell_gate = nn.Conv2d(2, 1, kernel_size=7, padding=3)

    def forward(
        self, x: Float[Tensor, "batch channel rows columns"]
    ) -> tuple[Float[Tensor, "batch width rows columns"], Float[Tensor, "batch rows columns"]]:
        """Gated features, and the gates of the cells in (0, 1)."""
        scales = torch.cat([F.relu(branch(x)) for branch in self.branches], dim=1)
        x = F.relu(self.merge(scales) + self.shortcut(x))
        x = x * self.channel_gate(x.mean(dim=(2, 3))).sigmoid()[:, :, None, None]
        summary = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        gate = self.cell_gate(summary).sigmoid()
        return x * gate, gate.squeeze(1)


class GaussianHead(NormalHead):
    """μ and σ² from two linear layers. Starts as in KL-Loss (He et al., CVPR 2019): weights of nearly 0, those of
    ln σ² the smaller."""

    def __init__(self, width: int, num_ages: int) -> None:
        super().__init__(num_ages)
        self.mean = nn.Linear(width, 1)
        self.log_variance = nn.Linear(width, 1)
        nn.init.normal_(self.mean.weight, std=1e-3)
        nn.init.constant_(self.mean.bias, FIRST_AGE)
        nn.init.normal_(self.log_variance.weight, std=1e-4)
        nn.init.zeros_(self.log_variance.bias)

    def forward(
        self, features: Float[Tensor, "batch width"]
    ) -> tuple[Float[Tensor, " batch"], Float[Tensor, " batch"]]:
        """μ and ln σ², both in decades. tanh keeps ln σ² in bounds and, unlike a cut, lets it come back."""
        mean, raw = self.mean(features).squeeze(1), self.log_variance(features).squeeze(1)
        return mean, WIDEST * torch.tanh(raw / WIDEST)


@dataclass(frozen=True)
class MTMSAPrediction:
    """What the network says of a batch of B crops.

    Attributes:
        embedding: (B, D) pooled features.
        mean, log_variance: (B,) μ and ln σ² of the age in decades, before the temperature.
        gender, race: (B, classes) logits.
        attention: (B, H, W) gates of the cells in (0, 1).
    """

    embedding: Float[Tensor, "batch embed"]
    mean: Float[Tensor, " batch"]
    log_variance: Float[Tensor, " batch"]
    gender: Float[Tensor, "batch gender"]
    race: Float[Tensor, "batch race"]
    attention: Float[Tensor, "batch rows columns"]


class MTMSA(AgeModel):
    """Three stages of a ResNet → multi-scale attention → mean over cells → heads for age, gender and race."""

    head: GaussianHead
    mean: Tensor
    std: Tensor
    no_prompts: Tensor

    def __init__(self, config: MTMSAConfig) -> None:
        super().__init__()
        self.config = config
        self.trunk = _trunk(config)
        self.attention = MultiScaleAttention(self.trunk.feature_info.channels()[-1], config)
        self.head = GaussianHead(config.width, config.num_ages)
        self.gender = nn.Linear(config.width, len(config.genders))
        self.race = nn.Linear(config.width, len(config.races))
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("no_prompts", torch.empty(0, config.width), persistent=False)

    @property
    def image_size(self) -> int:
        """Side of the square crops in pixels."""
        return self.config.image_size

    @property
    def embed_dim(self) -> int:
        """Width of the pooled features."""
        return self.config.width

    @property
    def image_network(self) -> nn.Module:
        """All of it."""
        return self

    def encode_ages(self) -> Float[Tensor, "age embed"]:
        """Give no rows: it has no prompts."""
        return self.no_prompts

    def forward(self, pixels: Float[Tensor, "batch 3 height width"]) -> MTMSAPrediction:
        """Estimate ages from RGB crops with values in [0, 1]."""
        features, gate = self.attention(self.trunk((pixels - self.mean) / self.std)[-1])
        embedding = features.float().mean(dim=(2, 3))
        kept = F.dropout(embedding, self.config.dropout, self.training)
        # In bfloat16 neighbouring ages would be two months apart.
        with torch.autocast(embedding.device.type, enabled=False):
            mean, log_variance = self.head(kept)
            gender, race = self.gender(kept), self.race(kept)
        return MTMSAPrediction(embedding, mean, log_variance, gender, race, gate.float())

    @torch.inference_mode()
    def classify(self, pixels: Float[Tensor, "view 3 height width"]) -> dict[str, str]:
        """Gender and race of one face, by the mean logits of its views."""
        prediction = self(pixels)
        return {
            "gender": self.config.genders[int(prediction.gender.mean(dim=0).argmax())],
            "race": self.config.races[int(prediction.race.mean(dim=0).argmax())],
        }

    def describe(
        self,
        pixels: Float[Tensor, "batch 3 height width"],
        age_text: Float[Tensor, "age embed"],
        *,
        mirror: bool,
    ) -> Description:
        """See `AgeModel.describe`; `relevance` is the attention's gate of each cell.

        The two Gaussians of a crop and its mirror image become one with the mean and variance of their mixture, as
        those of a deep ensemble do (METHOD 9).
        """
        views = (False, True) if mirror else (False,)
        prediction = self(torch.cat([pixels.flip(-1) if flipped else pixels for flipped in views]))
        mean = DECADE * prediction.mean.unflatten(0, (len(views), -1))
        variance = DECADE**2 * prediction.log_variance.exp().unflatten(0, (len(views), -1))
        variance = self.head.temperature * (variance.mean(dim=0) + mean.var(dim=0, correction=0))
        gates = zip(views, prediction.attention.unflatten(0, (len(views), -1)), strict=True)
        estimate = self.head.summarise(mean.mean(dim=0), variance.sqrt())
        return Description(
            F.normalize(prediction.embedding.unflatten(0, (len(views), -1)).sum(dim=0), dim=-1),
            estimate,
            estimate.logits.unsqueeze(1),
            torch.stack([gate.flip(-1) if flipped else gate for flipped, gate in gates]).mean(dim=0),
        )


def _trunk(config: MTMSAConfig) -> Any:
    """timm's ResNet up to its third stage, whose blocks take the alternating dilations.

    Successive dilations without a common factor leave no cell of the larger field unseen (Wang et al., "Understanding
    convolution for semantic segmentation", WACV 2018). Resolution stays that of the stage, a sixteenth of the input.
    """
    trunk: Any = timm.create_model(config.trunk, features_only=True, out_indices=(3,))
    for index, block in enumerate(trunk["layer3"]):
        dilation = config.alternating[index % len(config.alternating)]
        for module in block.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.dilation = module.padding = (dilation, dilation)
    return trunk


def _convolution(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(outputs),
    )
