"""FourierFormer: a transformer block whose attention is replaced by filtering in the frequency domain.

METHOD 4.4 (block) and 5.2 (where it goes: readings F1 and F2). One pass over N positions of C channels costs
O(C N log N + C² N); attention costs O(C N² + C² N).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from scipy.fft import next_fast_len
from torch import Tensor, nn
from torch.nn import functional as F

from cilf.model.config import FusionConfig, PadMode

SLOPE = 0.1  # of the networks' leaky ReLU, as in Fourmer


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over axis 1 of (batch, channel, *space)."""

    def forward(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class SpectralFilter(nn.Module):
    """rfft → a small network on the real and another on the imaginary part → inverse rfft.

    With `kernel_size=3` the networks are depth-wise over neighbouring frequencies: spatial interaction. With
    `kernel_size=1` they are dense over channels at each frequency: channel evolution. Transforms run in fp32 and
    `ortho`, so that the DC bin does not dwarf the others; the result has the input's dtype.

    Inside, channels lie last in memory; there a CPU is quickest when the depth-wise networks run as one over twice the
    channels, and the dense ones as matrix products.
    """

    def __init__(
        self, channels: int, dims: int, kernel_size: Literal[1, 3], pad_mode: PadMode = "circular"
    ) -> None:
        super().__init__()
        self.axes = tuple(range(1, dims + 1))
        self.pad_mode = pad_mode
        self.kernel_size = kernel_size
        convolution = nn.Conv1d if dims == 1 else nn.Conv2d
        groups = channels if kernel_size == 3 else 1

        def network() -> nn.ModuleList:
            return nn.ModuleList(
                convolution(channels, channels, kernel_size, groups=groups) for _ in range(2)
            )

        self.real = network()
        self.imaginary = network()

    def forward(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        # Transforms in fp32: cuFFT's half precision needs power-of-two sizes. The networks follow the autocast around.
        signal = (x if x.dtype == torch.float64 else x.float()).movedim(1, -1)
        spectrum = torch.fft.rfftn(signal, dim=self.axes, norm="ortho")
        filters = self._dense if self.kernel_size == 1 else self._depthwise
        real, imaginary = (part.to(signal.dtype) for part in filters(spectrum.real, spectrum.imag))
        sizes = [signal.shape[axis] for axis in self.axes]  # an odd last axis is lost in the spectrum's shape
        filtered = torch.fft.irfftn(torch.complex(real, imaginary), s=sizes, dim=self.axes, norm="ortho")
        return filtered.movedim(-1, 1).to(x.dtype)

    def _dense(
        self,
        real: Float[Tensor, "batch *frequency channel"],
        imaginary: Float[Tensor, "batch *frequency channel"],
    ) -> list[Float[Tensor, "batch *frequency channel"]]:
        def layer(x: Tensor, one: nn.Module) -> Tensor:
            return F.linear(x, one.get_parameter("weight").flatten(1), one.get_parameter("bias"))

        return [
            layer(F.leaky_relu(layer(part, first), SLOPE), second)
            for part, (first, second) in ((real, self.real), (imaginary, self.imaginary))
        ]

    def _depthwise(
        self,
        real: Float[Tensor, "batch *frequency channel"],
        imaginary: Float[Tensor, "batch *frequency channel"],
    ) -> tuple[Float[Tensor, "batch *frequency channel"], ...]:
        first, second = zip(self.real, self.imaginary, strict=True)
        parts = torch.cat([real, imaginary], dim=-1)
        parts = self._convolve(F.leaky_relu(self._convolve(parts, *first), SLOPE), *second)
        return parts.chunk(2, dim=-1)

    def _convolve(
        self, parts: Float[Tensor, "batch *frequency channels"], real: nn.Module, imaginary: nn.Module
    ) -> Float[Tensor, "batch *frequency channels"]:
        """`real` on the first half of the channels, `imaginary` on the second."""
        weight = torch.cat([real.get_parameter("weight"), imaginary.get_parameter("weight")])
        bias = torch.cat([real.get_parameter("bias"), imaginary.get_parameter("bias")])
        rows = columns = self.kernel_size // 2
        if len(self.axes) == 1:  # as a picture of one row
            parts, weight, rows = parts.unsqueeze(1), weight.unsqueeze(2), 0
        # rfft keeps half of the last axis, which therefore has ends; the axis before it is whole, so periodic.
        if rows and self.pad_mode == "circular":
            parts = torch.cat([parts[:, -rows:], parts, parts[:, :rows]], dim=1)
            rows = 0
        filtered = F.conv2d(parts.movedim(-1, 1), weight, bias, padding=(rows, columns), groups=len(weight))
        filtered = filtered.movedim(1, -1)
        return filtered.squeeze(1) if len(self.axes) == 1 else filtered


class FourierFormerBlock(nn.Module):
    """Spatial interaction, then channel evolution, each a residual branch (METHOD 4.4).

    u = x + γ₁ P(F⁻¹ DW(F LN x)),  y = u + γ₂ F⁻¹ PW(F LN u).  The shape (batch, channel, *space) is kept; any size
    works. With γ = 0 the block is the identity.
    """

    def __init__(
        self, channels: int, dims: int = 2, layer_scale: float = 1e-2, pad_mode: PadMode = "circular"
    ) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels)
        self.spatial = SpectralFilter(channels, dims, kernel_size=3, pad_mode=pad_mode)
        self.project = (nn.Conv1d if dims == 1 else nn.Conv2d)(channels, channels, kernel_size=1)
        self.norm2 = ChannelNorm(channels)
        self.evolve = SpectralFilter(channels, dims, kernel_size=1)
        shape = (channels,) + (1,) * dims
        self.gamma1 = nn.Parameter(torch.full(shape, layer_scale))
        self.gamma2 = nn.Parameter(torch.full(shape, layer_scale))

    def forward(self, x: Float[Tensor, "batch channel *space"]) -> Float[Tensor, "batch channel *space"]:
        x = x + self.gamma1 * self.project(self.spatial(self.norm1(x)))
        return x + self.gamma2 * self.evolve(self.norm2(x))


@dataclass(frozen=True)
class Fused:
    """What the fusion gives; D is the shared width, K the number of ages.

    Attributes:
        image: (B, D) fused image embedding, unit length.
        tower: (B, D) the global embedding alone, unit length.
        shares: (B, D) what the fusion added to it alone, unit length; 0 where it adds nothing.
        text: (B, K, D) context for each age prompt, read from the joint sequence (the v of METHOD 5.1).
        grid: (B, D, H, W) each cell's share of the fused image embedding; their mean is what the fusion added.
        scores: (B, K, H, W) cosine of each raw grid cell and each plain age prompt.
    """

    image: Float[Tensor, "batch embed"]
    tower: Float[Tensor, "batch embed"]
    shares: Float[Tensor, "batch embed"]
    text: Float[Tensor, "batch age embed"]
    grid: Float[Tensor, "batch embed rows columns"]
    scores: Float[Tensor, "batch age rows columns"]


class FourierFusion(nn.Module):
    """Fuses one image's embeddings with the age prompts' (METHOD 5.2, 5.3).

    F1: 2-D blocks on the grid, into which text enters as the cosine of every cell and every age.
    F2: 1-D blocks on the sequence [ages in order, global image token, grid in raster order]. A Fourier transform
    assumes an order, hence the fixed one here, and a learned tag for each of the three kinds of token. The sequence
    is padded by zeros to a length whose only factors are 2, 3 and 5: 101 + 1 + 49 = 151 is prime, and its transform
    several times slower than that of 160.
    """

    def __init__(self, embed_dim: int, num_ages: int, config: FusionConfig) -> None:
        super().__init__()
        width, self.num_ages = config.width, num_ages

        def blocks(count: int, dims: int) -> nn.Sequential:
            return nn.Sequential(
                *(FourierFormerBlock(width, dims, config.layer_scale, config.pad_mode) for _ in range(count))
            )

        self.grid_in = nn.Conv2d(embed_dim + num_ages, width, kernel_size=1)
        self.image_blocks = blocks(config.image_blocks, dims=2)
        self.text_in = nn.Sequential(nn.LayerNorm(embed_dim), nn.Linear(embed_dim, width))
        self.global_in = nn.Sequential(nn.LayerNorm(embed_dim), nn.Linear(embed_dim, width))
        self.tags = nn.Parameter(torch.randn(3, width) * 0.02)
        self.fusion_blocks = blocks(config.fusion_blocks, dims=1)
        self.text_out = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, embed_dim))
        self.grid_norm = nn.LayerNorm(width)
        self.grid_out = nn.Linear(width, embed_dim, bias=False)
        self.gain: nn.Parameter | None = None
        if config.gain is None:
            nn.init.zeros_(self.grid_out.weight)  # METHOD 5.3: training starts from the plain CLIP embedding
        else:
            self.gain = nn.Parameter(torch.logit(torch.tensor(config.gain)))

    def forward(
        self,
        image: Float[Tensor, "batch embed"],
        grid: Float[Tensor, "batch embed rows columns"],
        text: Float[Tensor, "age embed"],
    ) -> Fused:
        """`image` and `grid` raw, `text` of unit length."""
        batch, _, rows, columns = grid.shape
        # In bfloat16 the cosines of neighbouring ages would be the same.
        with torch.autocast(grid.device.type, enabled=False):
            cells = F.normalize(grid.float(), dim=1).flatten(2)
            scores = (text.float() @ cells).unflatten(2, (rows, columns))
        cells = self.image_blocks(self.grid_in(torch.cat([grid, scores.to(grid.dtype)], dim=1)))
        sequence = torch.cat(
            [
                (self.text_in(text) + self.tags[0]).expand(batch, -1, -1),
                (self.global_in(image) + self.tags[1]).unsqueeze(1),
                cells.flatten(2).transpose(1, 2) + self.tags[2],
            ],
            dim=1,
        )
        length = sequence.shape[1]
        # Padded before it is transposed, so that channels lie last in memory, as the filters want them.
        sequence = F.pad(sequence, (0, 0, 0, next_fast_len(length, real=True) - length))
        sequence = self.fusion_blocks(sequence.transpose(1, 2)).transpose(1, 2)
        ages, cells = sequence[:, : self.num_ages], sequence[:, self.num_ages + 1 : length]
        shares = self.grid_out(self.grid_norm(cells)).float()
        if self.gain is not None:
            length = torch.linalg.vector_norm(shares.mean(dim=1, keepdim=True), dim=-1, keepdim=True)
            shares = shares * (self.gain.sigmoid() / length.clamp(min=1e-6))
        tower, added = F.normalize(image.float(), dim=-1), shares.mean(dim=1)
        shares = shares.transpose(1, 2).unflatten(2, (rows, columns))
        return Fused(
            F.normalize(tower + added, dim=-1),
            tower,
            F.normalize(added, dim=-1),
            self.text_out(ages).float(),
            shares,
            scores,
        )
