"""What stands in for FourierFormer's block in the ablation: same place, same input and output, as many parameters.

All take (batch, channel, *space) with one or two space axes and keep the shape.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.model.fourierformer import ChannelNorm, FourierFormerBlock, FourierFusion

Mixer = Literal["mean", "convolution", "attention", "fourier"]


class MeanMixer(nn.Module):
    """Every position gets the mean of all: the least that lets a face reach the age tokens. No parameters."""

    def forward(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        return x + x.flatten(2).mean(dim=2).reshape(*x.shape[:2], *[1] * (x.ndim - 2))


class AttentionBlock(nn.Module):
    """A pre-norm transformer block over all positions; `explicit` forms the attention matrix instead of calling
    PyTorch's fused kernel.

    The attention is told the positions, as sines and cosines (Vaswani et al. 2017), which have no parameters. Those
    that hold zeros alone are a sequence's padding: nobody attends to them, and they stay as they are.
    """

    def __init__(
        self, channels: int, heads: int, mlp_ratio: float, layer_scale: float = 1e-2, explicit: bool = False
    ) -> None:
        super().__init__()
        self.heads, self.explicit = heads, explicit
        hidden = round(channels * mlp_ratio)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
        self.gamma1 = nn.Parameter(torch.full((channels,), layer_scale))
        self.gamma2 = nn.Parameter(torch.full((channels,), layer_scale))

    def forward(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        tokens = x.flatten(2).transpose(1, 2)
        used = tokens.any(dim=2)
        rows, columns = (*x.shape[2:], 1)[:2]
        places = build_sincos2d_pos_embed([rows, columns], x.shape[1], device=x.device, dtype=x.dtype)
        mixed = self.mix(self.norm1(tokens) + places, None if used.all() else used)
        new = tokens + self.gamma1 * mixed
        new = new + self.gamma2 * self.mlp(self.norm2(new))
        return (new * used.unsqueeze(2)).transpose(1, 2).reshape(x.shape)

    def mix(
        self, tokens: Float[Tensor, "batch token channel"], used: Bool[Tensor, "batch token"] | None = None
    ) -> Float[Tensor, "batch token channel"]:
        """Multi-head self-attention alone, to the tokens that are `used`; None: to all."""
        mask = None if used is None else used[:, None, None, :]
        batch, length, channels = tokens.shape
        query, key, value = (
            self.qkv(tokens).view(batch, length, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        )
        if self.explicit:
            score = query @ key.transpose(-1, -2) * (channels // self.heads) ** -0.5
            mixed = (score if mask is None else score.masked_fill(~mask, -torch.inf)).softmax(dim=-1) @ value
        else:
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return self.project(mixed.transpose(1, 2).reshape(batch, length, channels))


class ConvolutionBlock(nn.Module):
    """Depth-wise convolution over neighbours, then channels (ConvNeXt's block, Liu et al. 2022)."""

    def __init__(
        self, channels: int, dims: int, kernel_size: int, mlp_ratio: float, layer_scale: float = 1e-2
    ) -> None:
        super().__init__()
        convolution = nn.Conv1d if dims == 1 else nn.Conv2d
        hidden = round(channels * mlp_ratio)
        self.local = convolution(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.norm = ChannelNorm(channels)
        self.mlp = nn.Sequential(
            convolution(channels, hidden, kernel_size=1),
            nn.GELU(),
            convolution(hidden, channels, kernel_size=1),
        )
        self.gamma = nn.Parameter(torch.full((channels,) + (1,) * dims, layer_scale))

    def forward(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        return x + self.gamma * self.mlp(self.norm(self.local(x)))


def exchange(fusion: FourierFusion, mixer: Mixer) -> None:
    """Replace every FourierFormer block of a fusion by another kind of block, in place."""
    for blocks in (fusion.image_blocks, fusion.fusion_blocks):
        for index, block in enumerate(blocks):
            if isinstance(block, FourierFormerBlock):
                blocks[index] = _block(mixer, block)


def _block(mixer: Mixer, like: FourierFormerBlock) -> nn.Module:
    """A block with the parameters of `like` within 2 %. FourierFormer has about 5 C² of them."""
    channels, dims = like.gamma1.shape[0], like.gamma1.ndim - 1
    if mixer == "fourier":
        return like
    if mixer == "mean":
        return MeanMixer()
    parameters = sum(parameter.numel() for parameter in like.parameters())
    heads = max(1, channels // 32)

    def build(ratio: float) -> nn.Module:
        if mixer == "attention":
            return AttentionBlock(channels, heads, ratio)
        return ConvolutionBlock(channels, dims, kernel_size=7, mlp_ratio=ratio)

    def count(ratio: float) -> int:
        return sum(parameter.numel() for parameter in build(ratio).parameters())

    per_channel = count(1 + 1 / channels) - count(1.0)  # parameters of one more hidden channel
    return build(1.0 + round((parameters - count(1.0)) / per_channel) / channels)
